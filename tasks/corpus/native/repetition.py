"""How much of a text it says again (Rae et al. 2021, table A1): lines, paragraphs and word n-grams that repeat."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import SPACE
from tasks.corpus.native.counting import BASE, as_key, hash_range, repeated, slot_of, slots_for
from tasks.corpus.native.tokens import joined

_LINE_FEED = 10


@kernel
def repetition(codes, classes, tokens, scores):
    """Write into scores: shares of repeated lines and paragraphs, of their characters, of the top 2- to 4-gram and of
    repeated 5- to 10-grams: [dup_line, dup_line_chars, dup_para, dup_para_chars, top_2..4, dup_5..10]."""
    size = len(codes)
    count, elements, characters = _pieces(codes, 0, size, 1)
    scores[0], scores[1] = elements / count, characters / size
    start, end = _stripped(codes, classes)
    count, elements, characters = _pieces(codes, start, end, 2)
    scores[2], scores[3] = elements / count, characters / size
    words = len(tokens.hashes)
    table = np.zeros(slots_for(words), np.uint64)
    counts, firsts = np.zeros(len(table), np.int32), np.zeros(len(table), np.int32)
    for n in range(2, 5):
        scores[2 + n] = _top(tokens, n, table, counts, firsts) / size
    for n in range(5, 11):
        scores[2 + n] = _repeated_ngrams(tokens, n, table) / size


@kernel
def _stripped(codes, classes):
    """The bounds of the text without space around it."""
    last = len(classes) - 1
    start, end = 0, len(codes)
    while start < end and classes[min(codes[start], last)] & SPACE:
        start += 1
    while end > start and classes[min(codes[end - 1], last)] & SPACE:
        end -= 1
    return start, end


@kernel
def _pieces(codes, start, end, feeds):
    """(pieces, repeated pieces, their characters) of what runs of at least `feeds` line feeds separate."""
    most = 1
    for i in range(start, end):
        most += codes[i] == _LINE_FEED
    hashes, lengths = np.empty(most, np.uint64), np.empty(most, np.int64)
    count, piece, at = 0, start, start
    while at <= end:
        stop = at
        while stop < end and codes[stop] == _LINE_FEED:
            stop += 1
        if at == end or stop - at >= feeds:
            hashes[count], lengths[count] = hash_range(codes, piece, at), at - piece
            count += 1
            piece = stop
            if stop == end and at < end:  # the text ends in line feeds: an empty piece follows
                hashes[count], lengths[count] = 0, 0
                count += 1
                break
        at = max(stop, at + 1)
    elements, characters = repeated(hashes, lengths, count)
    return count, elements, characters


@kernel
def _top(tokens, n, table, counts, firsts):
    """Characters of the commonest n-gram, spaces between its words included, times how often it stands there."""
    windows = len(tokens.hashes) - n + 1
    if windows < 1:
        return 0
    table[:] = 0
    best, best_first = 0, 0
    for i in range(windows):
        key = np.uint64(0)
        for j in range(i, i + n):
            key = (key ^ (key >> np.uint64(31))) * BASE + tokens.hashes[j]
        key = as_key(key)
        at = slot_of(table, key)
        if table[at] == 0:
            table[at], counts[at], firsts[at] = key, 0, i
        counts[at] += 1
        first = firsts[at]
        if counts[at] > best or (counts[at] == best and first < best_first):
            best, best_first = counts[at], first
    return best * (tokens.before[best_first + n] - tokens.before[best_first] + n - 1)


@kernel
def _repeated_ngrams(tokens, n, table):
    """Characters of n-grams that stood before; after such a one the search goes on behind it."""
    windows = len(tokens.hashes) - n + 1
    table[:] = 0
    characters, i = 0, 0
    while i < windows:
        key = as_key(joined(tokens, i, i + n))
        at = slot_of(table, key)
        if table[at] == key:
            characters += tokens.before[i + n] - tokens.before[i]
            i += n
        else:
            table[at] = key
            i += 1
    return characters
