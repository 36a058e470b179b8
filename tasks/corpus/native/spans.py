"""Runs of characters that an earlier text holds, found as rsync finds blocks (Tridgell 1999, chapter 3), exactly."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import kernel

BASE = np.uint64(0x9E3779B97F4A7C15)
CANDIDATES = 8  # places kept of equal blocks


@kernel
def slot_of(h, slots):
    """The first slot of a hash in a table of a power of two slots (splitmix64's finish, Steele et al. 2014)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.int64((h ^ (h >> np.uint64(27))) & np.uint64(slots - 1))


@kernel
def hash_block(codes, start, block):
    h = np.uint64(0)
    for i in range(start, start + block):
        h = h * BASE + np.uint64(codes[i])
    return h


@kernel
def insert(hashes, places, h, place):
    """Put a block's place into the table (places -1 = free); whether there was room for one more of its hash."""
    slot, same = slot_of(h, len(hashes)), 0
    while places[slot] >= 0:
        same += hashes[slot] == h
        if same == CANDIDATES:
            return False
        slot = (slot + 1) & (len(hashes) - 1)
    hashes[slot], places[slot] = h, place
    return True


@kernel
def insert_blocks(hashes, places, store, start, stop, block):
    """Insert the blocks that lie one behind the other in store[start:stop]; how many were."""
    count = 0
    for place in range(start, stop - block + 1, block):
        count += insert(hashes, places, hash_block(store, place, block), place)
    return count


@kernel
def move_blocks(hashes, places, old_hashes, old_places):
    """Insert all blocks of an old table."""
    for i in range(len(old_hashes)):
        if old_places[i] >= 0:
            insert(hashes, places, old_hashes[i], old_places[i])


@kernel
def repeated_spans(codes, store, hashes, places, block, least):
    """int64 [spans, 3]: start, stop and place in the store of runs of `least` characters and more that stand there.

    Of several places the one of the longest run is told; spans are in order and do not overlap. Every aligned block of
    the store that the text holds is found, and tried as far as it agrees on either side.
    """
    spans = np.empty((len(codes) // least + 1, 3), np.int64)
    found, done, i = 0, 0, 0
    power = np.uint64(1)
    for _ in range(block - 1):
        power = power * BASE
    h = hash_block(codes, 0, block) if len(codes) >= block else np.uint64(0)
    while i + block <= len(codes):
        best = 0
        slot = slot_of(h, len(hashes))
        while places[slot] >= 0:
            if hashes[slot] == h:
                a, right, left = places[slot], 0, 0
                while i + right < len(codes) and store[a + right] == codes[i + right]:
                    right += 1
                while i - left > done and a > left and store[a - left - 1] == codes[i - left - 1]:
                    left += 1
                if right >= block and left + right > best:
                    best = left + right
                    spans[found, 0], spans[found, 1], spans[found, 2] = i - left, i + right, a - left
            slot = (slot + 1) & (len(hashes) - 1)
        if best >= least:
            done = i = spans[found, 1]
            found += 1
            if i + block <= len(codes):
                h = hash_block(codes, i, block)
            continue
        if i + block < len(codes):
            h = (h - np.uint64(codes[i]) * power) * BASE + np.uint64(codes[i + block])
        i += 1
    return spans[:found]
