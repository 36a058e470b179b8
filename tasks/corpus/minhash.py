"""MinHash signatures of many texts at once (Broder 1997), and the pairs that locality-sensitive hashing proposes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.verse import han

BANDS, ROWS = 20, 4  # a pair with Jaccard similarity s is proposed with probability 1 - (1 - s^4)^20: 94% at 0.6
HASHES = BANDS * ROWS
HAN_SHINGLE, OTHER_SHINGLE = 2, 12  # characters: about a word of Chinese, about two of English
NEIGHBOURS = 8  # within a bucket a text is paired with this many that follow it

_random = np.random.Generator(np.random.PCG64(20021))
_FACTORS = _random.integers(1, 2**31, HASHES, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_OFFSETS = _random.integers(0, 2**32, HASHES, dtype=np.uint32)
_BASE = np.uint64(0x9E3779B97F4A7C15)


def shingle_length(text: str) -> int:
    """Characters per shingle: by what most of the text is made of."""
    return HAN_SHINGLE if 2 * len(han(text)) > len(text) else OTHER_SHINGLE


def shingles(text: str) -> set[str]:
    """The text's distinct character n-grams; a shorter text is its own."""
    n = shingle_length(text)
    return {text[i : i + n] for i in range(max(1, len(text) - n + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    """Shared over all shingles."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def signatures(texts: Sequence[str]) -> np.ndarray:
    """uint32 [texts, HASHES]: for each hash function the least value over a text's shingles."""
    result = np.full((len(texts), HASHES), np.iinfo(np.uint32).max, np.uint32)
    lengths = np.array([shingle_length(text) for text in texts])
    for n in (HAN_SHINGLE, OTHER_SHINGLE):
        chosen = np.flatnonzero(lengths == n)
        if len(chosen):
            result[chosen] = _signatures([texts[i] for i in chosen], n)
    return result


def _signatures(texts: list[str], n: int) -> np.ndarray:
    padded = [text if len(text) >= n else text + "\0" * (n - len(text)) for text in texts]
    sizes = np.array([len(text) for text in padded])
    ends = np.cumsum(sizes)
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    inside = np.ones(len(codes), bool)  # windows that do not run into the next text
    for back in range(1, n):
        inside[ends - back] = False
    hashes = _mixed(codes, n)[inside[: len(codes) - n + 1]]
    starts = np.concatenate([[0], np.cumsum(sizes - n + 1)[:-1]])
    columns = [np.minimum.reduceat(hashes * a + b, starts) for a, b in zip(_FACTORS, _OFFSETS, strict=True)]
    return np.stack(columns, axis=1)


def _mixed(codes: np.ndarray, n: int) -> np.ndarray:
    """uint32 hash of every window of n characters: a polynomial, finished by splitmix64 (Steele et al. 2014)."""
    windows = len(codes) - n + 1
    mixed = np.zeros(windows, np.uint64)
    for i in range(n):
        mixed = mixed * _BASE + codes[i : windows + i]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def candidate_pairs(signature: np.ndarray) -> np.ndarray:
    """int64 [pairs, 2], a < b, sorted: texts that share a band."""
    found = [np.empty(0, np.int64)]
    for band in range(BANDS):
        rows = signature[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        key = rows[:, 0]
        for column in range(1, ROWS):
            key = key * _BASE + rows[:, column]
        found += _pairs_of_equal(key)
    packed = np.unique(np.concatenate(found))
    return np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1)


def _pairs_of_equal(key: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(key, kind="stable")
    key = key[order]
    pairs = []
    for gap in range(1, NEIGHBOURS + 1):
        at = np.flatnonzero(key[gap:] == key[:-gap])
        if not len(at):
            break
        pairs.append(order[at] << 32 | order[at + gap])  # stable: the first index is the lesser
    return pairs
