"""C4's line filter (Raffel et al. 2020, section 2.2, and its published code): which lines of a page are prose."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import code_points, kernel
from tasks.corpus.native.characters import DIGIT, NOT_PUNCTUATION, SPACE, TERMINAL
from tasks.corpus.native.quality import line_end, trimmed

_OPEN, _CLOSE, _CURLY, _LINE_FEED, _DOT = 91, 93, 123, 10, 46
_ENDS = (46, 63, 33, 34, 39)  # . ? ! " '
LOREM, JAVASCRIPT = code_points("lorem ipsum"), code_points("javascript")
EDIT, CITATION = code_points("[edit]"), code_points("[citation needed]")


@kernel
def clean(codes, classes, policies, punctuated, least_words, longest_word, scores):
    """The text with the lines that stay. Writes [lorem_ipsum, curly_brackets]: lines that hold either.

    A line goes when it has a word longer than `longest_word`, fewer words than `least_words`, the word javascript, a
    phrase of the policies or, where `punctuated`, no mark that ends a sentence. Citation marks [1] go from every line.
    policies: uint32 codes, phrases separated by line feeds.
    """
    size = len(codes)
    kept, n, at, lines = np.empty(size + 1, np.uint32), 0, 0, 0
    lower = np.empty(size + 1, np.uint32)
    lorem, curly = 0, 0
    while at < size:
        end, after = line_end(codes, classes, at)
        start, stop = trimmed(codes, classes, at, end)
        at = after
        words, longest = _words(codes, classes, start, stop)
        if longest > longest_word:
            continue
        first = n + (lines > 0)
        last = _without_citations(codes, classes, start, stop, kept, first)
        if (punctuated and not _ends_sentence(kept, first, last)) or words < least_words:
            continue
        _lowered(kept, first, last, lower)
        has_lorem = _find(lower, first, last, LOREM, 0, len(LOREM))
        has_script = _find(lower, first, last, JAVASCRIPT, 0, len(JAVASCRIPT))
        has_curly = _has(kept, first, last, _CURLY) and not has_lorem and not has_script
        lorem, curly = lorem + has_lorem, curly + has_curly
        if has_script or _any_phrase(lower, first, last, policies):
            continue
        if lines > 0:
            kept[n] = _LINE_FEED
        n, lines = last, lines + 1
    scores[0], scores[1] = lorem, curly
    start, stop = trimmed(kept, classes, 0, n)
    return kept[start:stop].copy()


@kernel
def _words(codes, classes, start, end):
    """(words between spaces, characters of the longest)."""
    words, longest, run, last = 0, 0, 0, len(classes) - 1
    for i in range(start, end):
        if classes[min(codes[i], last)] & SPACE:
            run = 0
        else:
            words += run == 0
            run += 1
            longest = max(longest, run)
    return words, longest


@kernel
def _without_citations(codes, classes, start, end, out, n):
    """Copy a line without [1], [], [edit] and [citation needed]; where the copy ends."""
    at = start
    while at < end:
        if codes[at] == _OPEN:
            stop = at + 1
            while stop < end and classes[min(codes[stop], len(classes) - 1)] & DIGIT:
                stop += 1
            if stop < end and codes[stop] == _CLOSE:
                at = stop + 1
                continue
            if _matches(codes, at, end, EDIT, 0, len(EDIT)):
                at += len(EDIT)
                continue
            if _matches(codes, at, end, CITATION, 0, len(CITATION)):
                at += len(CITATION)
                continue
        out[n] = codes[at]
        n += 1
        at += 1
    return n


@kernel
def _ends_sentence(codes, start, end):
    if start == end:
        return False
    c = codes[end - 1]
    if c == _DOT and end - start >= 3 and codes[end - 2] == _DOT and codes[end - 3] == _DOT:
        return False
    return c == _ENDS[0] or c == _ENDS[1] or c == _ENDS[2] or c == _ENDS[3] or c == _ENDS[4]


@kernel
def _lowered(codes, start, end, out):
    for i in range(start, end):
        out[i] = codes[i] + 32 if 65 <= codes[i] <= 90 else codes[i]


@kernel
def _has(codes, start, end, c):
    for i in range(start, end):
        if codes[i] == c:
            return True
    return False


@kernel
def _matches(codes, at, end, phrase, first, stop):
    if end - at < stop - first:
        return False
    for i in range(stop - first):
        if codes[at + i] != phrase[first + i]:
            return False
    return True


@kernel
def _find(codes, start, end, phrase, first, stop):
    head = phrase[first]
    for at in range(start, end - (stop - first) + 1):
        if codes[at] == head and _matches(codes, at, end, phrase, first, stop):
            return True
    return False


@kernel
def _any_phrase(codes, start, end, phrases):
    first = 0
    for i in range(len(phrases)):
        if phrases[i] == _LINE_FEED:
            if _find(codes, start, end, phrases, first, i):
                return True
            first = i + 1
    return False


@kernel
def sentences(codes, tokens):
    """Sentences of all lines: a word after a mark that ends one begins the next, and so does every line."""
    found, at, ended, line = 0, 0, False, True
    for k in range(len(tokens.starts)):
        while at < tokens.starts[k]:
            line = line or codes[at] == _LINE_FEED
            at += 1
        if line:
            found, line, ended = found + 1, False, False
        mark = (tokens.bits[k] & TERMINAL) != 0
        if ended and not mark and tokens.bits[k] & NOT_PUNCTUATION:
            found, ended = found + 1, False
        ended = ended or mark
        at = tokens.ends[k]
    return found
