"""Measures of form: Gopher's quality rules (Rae et al. 2021, section A1.1) and FineWeb's (Penedo et al. 2024, 3.6)."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import ALPHA, LINE_END, SPACE, SUBSTANCE, TERMINAL
from tasks.corpus.native.counting import hash_range, repeated, slot_of

_LINE_FEED, _RETURN, _HASH, _DOT, _DASH = 10, 13, 35, 46, 45
_BULLET, _ELLIPSIS = 0x2022, 0x2026


@kernel
def gopher(codes, classes, tokens, stop_words, scores):
    """Write [words, word_length, hashes, ellipses, bullet_lines, ellipsis_lines, alphabetic_words, stop_words].

    words and word_length count words that are more than punctuation; hashes and ellipses are per word; the rest are
    shares, but stop_words counts the distinct ones. stop_words: uint64 table of hashes.
    """
    count = len(tokens.hashes)
    words, characters, alphabetic = 0, 0, 0
    for k in range(count):
        if tokens.bits[k] & SUBSTANCE:
            words += 1
            characters += tokens.ends[k] - tokens.starts[k]
        alphabetic += (tokens.bits[k] & ALPHA) != 0
    hashes, ellipses = _marks(codes)
    lines, bullets, trailing = _lines(codes, classes)
    scores[0] = words
    scores[1] = characters / max(1, words)
    scores[2], scores[3] = hashes / max(1, count), ellipses / max(1, count)
    scores[4], scores[5] = bullets / max(1, lines), trailing / max(1, lines)
    scores[6] = alphabetic / max(1, count)
    scores[7] = _distinct(tokens.hashes, stop_words)


@kernel
def _distinct(hashes, table):
    seen = np.zeros(len(table), np.bool_)
    found = 0
    for h in hashes:
        at = slot_of(table, h)
        if table[at] == h and h != 0 and not seen[at]:
            seen[at] = True
            found += 1
    return found


@kernel
def _marks(codes):
    """(# signs, ellipses as one character or as three dots)."""
    hashes, ellipses, dots = 0, 0, 0
    for c in codes:
        hashes += c == _HASH
        ellipses += c == _ELLIPSIS
        dots = dots + 1 if c == _DOT else 0
        if dots == 3:
            ellipses += 1
            dots = 0
    return hashes, ellipses


@kernel
def line_end(codes, classes, start):
    """(where the line that starts at `start` ends, where the next one starts), as str.splitlines() has it."""
    size, last, at = len(codes), len(classes) - 1, start
    while at < size and not classes[min(codes[at], last)] & LINE_END:
        at += 1
    after = at + 1
    if after < size and codes[at] == _RETURN and codes[after] == _LINE_FEED:
        after += 1
    return at, after


@kernel
def trimmed(codes, classes, start, end):
    """The bounds without space at either end."""
    last = len(classes) - 1
    while start < end and classes[min(codes[start], last)] & SPACE:
        start += 1
    while end > start and classes[min(codes[end - 1], last)] & SPACE:
        end -= 1
    return start, end


@kernel
def _lines(codes, classes):
    """(lines, those that begin with a bullet, those that end in an ellipsis)."""
    lines, bullets, trailing, at = 0, 0, 0, 0
    while at < len(codes):
        end, after = line_end(codes, classes, at)
        first, stop = trimmed(codes, classes, at, end)
        lines += 1
        if first < stop:
            bullets += codes[first] == _BULLET or codes[first] == _DASH
            dots = stop - first >= 3 and codes[stop - 1] == _DOT and codes[stop - 2] == _DOT and codes[stop - 3] == _DOT
            trailing += codes[stop - 1] == _ELLIPSIS or dots
        at = after
    return lines, bullets, trailing


@kernel
def fineweb(codes, classes, words, short, scores):
    """Write [line_punctuation, short_lines, duplicated_characters, lines_per_word].

    Shares of the lines that end a sentence and that hold at most `short` characters; characters of repeated lines per
    character; line feeds per word.
    """
    size, last, feeds = len(codes), len(classes) - 1, 0
    for c in codes:
        feeds += c == _LINE_FEED
    hashes, lengths = np.empty(feeds + 1, np.uint64), np.empty(feeds + 1, np.int64)
    lines, ended, brief, at = 0, 0, 0, 0
    while at <= size:
        end = at
        blank = True
        while end < size and codes[end] != _LINE_FEED:
            blank = blank and (classes[min(codes[end], last)] & SPACE) != 0
            end += 1
        if not blank:
            hashes[lines], lengths[lines] = hash_range(codes, at, end), end - at
            lines += 1
            ended += (classes[min(codes[end - 1], last)] & TERMINAL) != 0
            brief += end - at <= short
        at = end + 1
    _, characters = repeated(hashes, lengths, lines)
    scores[0], scores[1] = ended / max(1, lines), brief / max(1, lines)
    scores[2], scores[3] = characters / max(1, size - feeds), feeds / max(1, words)
