"""MinHash signatures (Broder 1997), and the pairs of texts that locality-sensitive hashing proposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tasks.corpus.dedup.shingles import Shingling

BANDS, ROWS = 32, 4  # a pair with Jaccard similarity s is proposed with probability 1 - (1 - s^4)^32: 98.8% at 0.6
HASHES = BANDS * ROWS  # 128, as InternLM2 takes (Cai et al. 2024, section 3.1)
NEIGHBOURS = 8  # within a bucket a text is paired with its first text, and with this many that follow

_random = np.random.Generator(np.random.PCG64(20021))
_FACTORS = _random.integers(1, 2**31, HASHES, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_OFFSETS = _random.integers(0, 2**32, HASHES, dtype=np.uint32)
_BASE = np.uint64(0x9E3779B97F4A7C15)


def signatures(texts: Sequence[str], shinglings: Sequence[Shingling]) -> np.ndarray:
    """uint32 [texts, HASHES]: for each hash function the least value over a text's shingles."""
    from tasks.corpus.native.shingles import sign

    result = np.full((len(texts), HASHES), np.iinfo(np.uint32).max, np.uint32)
    for row, text, shingling in zip(result, texts, shinglings, strict=True):
        sign(shingling.hashes(text), _FACTORS, _OFFSETS, row)
    return result


def in_bands(signature: np.ndarray) -> np.ndarray:
    """uint32 [BANDS, texts, ROWS], so that a band lies together."""
    return np.ascontiguousarray(signature.reshape(-1, BANDS, ROWS).transpose(1, 0, 2))


def band_key(rows: np.ndarray) -> np.ndarray:
    """uint64 [texts] from a band's [texts, ROWS]: texts with equal keys share its bucket."""
    rows = np.asarray(rows).astype(np.uint64)
    key = rows[:, 0]
    for column in range(1, ROWS):
        key = key * _BASE + rows[:, column]
    return key


def candidate_pairs(keys_of: Callable[[int], np.ndarray]) -> np.ndarray:
    """int64 [pairs, 2], a < b, sorted: texts that share a bucket. keys_of(band) is uint64 [texts]."""
    found = np.empty(0, np.int64)
    for band in range(BANDS):
        found = np.union1d(found, _pairs_of_equal(keys_of(band)))
    return np.stack([found >> 32, found & 0xFFFFFFFF], axis=1)


def _pairs_of_equal(key: np.ndarray) -> np.ndarray:
    """Each text with the first of its bucket and with those that follow it there, as a << 32 | b."""
    order = np.argsort(key, kind="stable")  # stable: within a bucket by index, so a < b
    key = key[order]
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.empty(0, np.int64)
    first = order[np.repeat(starts, np.diff(np.append(starts, len(key))))]
    pairs = [(first << 32 | order)[first != order]]
    for gap in range(1, NEIGHBOURS + 1):
        at = np.flatnonzero(key[gap:] == key[:-gap])
        if not len(at):
            break
        pairs.append(order[at] << 32 | order[at + gap])
    return np.unique(np.concatenate(pairs))
