"""Exact and near duplicates: which document each one duplicates, and how alike they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.corpus.minhash import candidate_pairs, jaccard, shingles


@dataclass(frozen=True)
class Duplicates:
    """Per document: the index of the kept document it duplicates (-1 = none), and their similarity in 0..1."""

    exact: np.ndarray  # int64
    near: np.ndarray  # int64
    similarity: np.ndarray  # float32


def find_duplicates(
    hashes: np.ndarray,
    signature: np.ndarray,
    good: np.ndarray,
    sizes: np.ndarray,
    key_of: Callable[[int], str],
    threshold: float,
) -> Duplicates:
    """Name for every duplicate the document that stays in its place.

    Of equal documents stays the one that passed the rules, then the first. Of near ones, in the order passed, longer,
    first, each stays unless its shingles' Jaccard similarity to one that stays reaches `threshold`; it then duplicates
    the most similar of these. So every duplicate is similar to the very document it names: no chains.

    Args:
        hashes: [documents] of the normalised content; empty for what holds no text, which duplicates nothing.
        signature: uint32 [documents, HASHES]. good: bool, passed all rules. sizes: characters. key_of: the content.
    """
    rank = np.lexsort((np.arange(len(hashes)), -sizes, ~good))  # best first
    exact = _exact(hashes, good)
    alone = np.flatnonzero((exact < 0) & (hashes != ""))
    near, similarity = _near(alone, signature[alone], rank, key_of, threshold)
    copies = exact >= 0
    similarity[copies] = np.where(near[exact[copies]] >= 0, similarity[exact[copies]], 1.0)
    exact[copies] = np.where(near[exact[copies]] >= 0, near[exact[copies]], exact[copies])
    return Duplicates(exact, near, similarity)


def _exact(hashes: np.ndarray, good: np.ndarray) -> np.ndarray:
    kept: dict[str, int] = {}
    for i in [*np.flatnonzero(good), *np.flatnonzero(~good)]:
        kept.setdefault(hashes[i], int(i))
    return np.array([-1 if h == "" or kept[h] == i else kept[h] for i, h in enumerate(hashes)], np.int64)


def _near(
    alone: np.ndarray, signature: np.ndarray, rank: np.ndarray, key_of: Callable[[int], str], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    near, similarity = np.full(len(rank), -1, np.int64), np.zeros(len(rank), np.float32)
    alike = _alike(alone[candidate_pairs(signature)], key_of, threshold)
    place = np.empty(len(rank), np.int64)
    place[rank] = np.arange(len(rank))
    for i in sorted(alike, key=lambda i: place[i]):
        better = [(-s, place[j], j) for j, s in alike[i] if place[j] < place[i] and near[j] < 0]
        if better:
            negative, _, near[i] = min(better)
            similarity[i] = -negative
    return near, similarity


def _alike(pairs: np.ndarray, key_of: Callable[[int], str], threshold: float) -> dict[int, list[tuple[int, float]]]:
    """document -> its (neighbour, similarity), verified on the shingles themselves."""
    sets: dict[int, set[str]] = {}
    alike: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for a, b in pairs.tolist():
        for i in (a, b):
            if i not in sets:
                sets[i] = shingles(key_of(i))
        s = jaccard(sets[a], sets[b])
        if s >= threshold:
            alike[a].append((b, s))
            alike[b].append((a, s))
    return alike
