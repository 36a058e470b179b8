"""Shingles of a text, hashed, and their MinHash signature (Broder 1997)."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import HAN_RANGES

BASE = np.uint64(0x9E3779B97F4A7C15)
_SPACE = 32


@kernel
def is_han(code):
    """Whether a code point is a Chinese character."""
    for first, last in HAN_RANGES:
        if first <= code <= last:
            return True
    return False


@kernel
def shingle_hashes(codes, words, n):
    """uint64 [shingles]: a hash of every run of n units; a text of fewer units is one shingle.

    A unit is a word between spaces or a Chinese character where `words`, else a character; spaces do not count. The
    hash is a polynomial over the units, finished by splitmix64 (Steele et al. 2014).
    """
    units = np.empty(len(codes) + n, np.uint64)
    count, inside = 0, False
    for i in range(len(codes)):
        if codes[i] == _SPACE:
            inside = False
            continue
        alone = not words or is_han(codes[i])
        if alone or not inside:
            units[count] = np.uint64(codes[i])
            count, inside = count + 1, not alone
        else:
            units[count - 1] = units[count - 1] * BASE + np.uint64(codes[i])
    while count < n:
        units[count] = 0
        count += 1
    hashes = np.empty(count - n + 1, np.uint64)
    for i in range(len(hashes)):
        h = np.uint64(0)
        for j in range(i, i + n):
            h = h * BASE + units[j]
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes[i] = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes


@kernel
def sign(hashes, factors, offsets, signature):
    """Lower `signature` (uint32 [functions]) to each function's least value over the shingles' upper 32 bits."""
    for i in range(len(hashes)):
        h = np.uint32(hashes[i] >> np.uint64(32))
        for k in range(len(factors)):
            value = np.uint32(h * factors[k] + offsets[k])
            signature[k] = min(signature[k], value)


@kernel
def shared(a, b):
    """How many values two sorted arrays of distinct values share."""
    i, j, found = 0, 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            found += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return found
