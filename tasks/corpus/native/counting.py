"""Hashes of ranges of text, and hash tables that count them. A hash is a polynomial modulo 2^64; 0 means none."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import kernel

BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))  # BASE * INVERSE = 1 modulo 2^64
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_ONE = np.uint64(1)


@kernel
def hash_range(codes, start, end):
    """Hash of the characters [start, end)."""
    h = np.uint64(0)
    for i in range(start, end):
        h = h * BASE + np.uint64(codes[i]) + _ONE
    return h


@kernel
def as_key(h):
    """The hash, but for 0, which marks an empty slot. No bit is forced: neighbours must stay apart."""
    return h if h != 0 else _ONE


@kernel
def slots_for(count):
    """Slots of a table for so many keys: a power of two, at most half full."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@kernel
def slot_of(table, key):
    """Where a key stands in a table of keys, or the empty slot where it would."""
    mask = len(table) - 1
    spread = (key ^ (key >> np.uint64(29))) * _SPREAD
    at = np.int64((spread >> np.uint64(32)) & np.uint64(mask))
    while table[at] != 0 and table[at] != key:
        at = (at + 1) & mask
    return at


@kernel
def repeated(hashes, lengths, count):
    """(elements, characters) of what stood before: all but the first of equal hashes."""
    table = np.zeros(slots_for(count), np.uint64)
    elements, characters = 0, 0
    for i in range(count):
        key = as_key(hashes[i])
        at = slot_of(table, key)
        if table[at] == key:
            elements += 1
            characters += lengths[i]
        table[at] = key
    return elements, characters


def hash_of(text: str) -> int:
    """`hash_range` of a whole text, in Python."""
    h = 0
    for c in text:
        h = (h * 0x9E3779B97F4A7C15 + ord(c) + 1) % 2**64
    return h
