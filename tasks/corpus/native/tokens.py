"""A segmented text: what every word is, computed once and shared by all measures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import ALPHA, NOT_PUNCTUATION, SUBSTANCE, TERMINAL
from tasks.corpus.native.counting import BASE, INVERSE


class Tokens(NamedTuple):
    """The words of a text, in order. [words] each, but for `sums` and `scale`: [words + 1]."""

    starts: np.ndarray  # int32: code points
    ends: np.ndarray  # int32
    bits: np.ndarray  # uint16: what any of its characters is; TERMINAL only when it is that one character
    hashes: np.ndarray  # uint64
    before: np.ndarray  # int64 [words + 1]: characters of the words before
    sums: np.ndarray  # uint64 [words + 1]: with `scale`, the hash of any run of words joined: see `joined`
    scale: np.ndarray  # uint64 [words + 1]


@kernel
def describe(codes, classes, starts, ends, count):
    """The words between the boundaries, as `Tokens`.

    sums[k] adds up hash(word) * BASE^-before[its end] over the first k words, scale[k] = BASE^before[k]; so
    scale[j] * (sums[j] - sums[i]) is the polynomial hash of words i..j written without spaces.
    """
    bits, hashes = np.empty(count, np.uint16), np.empty(count, np.uint64)
    before = np.zeros(count + 1, np.int64)
    sums, scale = np.zeros(count + 1, np.uint64), np.ones(count + 1, np.uint64)
    shrink, last, one = np.uint64(1), len(classes) - 1, np.uint64(1)
    for k in range(count):
        any_bits, h, grow, size = np.uint16(0), np.uint64(0), scale[k], ends[k] - starts[k]
        for i in range(starts[k], ends[k]):
            c = codes[i]
            h = h * BASE + np.uint64(c) + one
            grow *= BASE
            shrink *= INVERSE
            any_bits |= classes[min(c, last)] & np.uint16(ALPHA | SUBSTANCE | NOT_PUNCTUATION | TERMINAL)
        bits[k] = any_bits if size == 1 else any_bits & np.uint16(0xFFFF ^ TERMINAL)
        hashes[k], scale[k + 1], before[k + 1] = h, grow, before[k] + size
        sums[k + 1] = sums[k] + h * shrink
    return Tokens(starts[:count], ends[:count], bits, hashes, before, sums, scale)


@kernel
def joined(tokens, first, stop):
    """Hash of the words [first, stop) written without spaces."""
    return tokens.scale[stop] * (tokens.sums[stop] - tokens.sums[first])
