"""Which document each one duplicates, and how alike they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from tasks.corpus.dedup.minhash import candidate_pairs
from tasks.corpus.dedup.shingles import Shingling, jaccard

SLACK = 0.2  # a pair whose estimate falls this far below its threshold is not verified: 4.6 standard errors at 0.6
CHARACTERS_AT_ONCE = 8 << 20  # of the documents whose shingles are in memory at once
ROWS_AT_ONCE = 1 << 15  # pairs whose signatures are compared at once


@dataclass(frozen=True)
class Duplicates:
    """Per document: the index of the kept document it duplicates (-1 = none), and their similarity in 0..1."""

    exact: np.ndarray  # int64
    near: np.ndarray  # int64
    similarity: np.ndarray  # float32


class Signed(Protocol):
    """Documents' signatures and contents, wherever they lie."""

    def band(self, band: int) -> np.ndarray:
        """uint64 [documents]: the keys of a band."""

    def signatures(self, documents: np.ndarray) -> np.ndarray:
        """uint32 [documents, HASHES] of chosen documents, in rising order."""

    def contents(self, documents: np.ndarray) -> Iterator[tuple[str, Shingling]]:
        """Key and shingling of chosen documents, in rising order."""


def find_duplicates(
    hashes: np.ndarray, good: np.ndarray, sizes: np.ndarray, least: np.ndarray, signed: Signed, indexed: int = 0
) -> Duplicates:
    """Name for every duplicate the document that stays in its place.

    Of equal documents stays the one that passed the rules, then the first. Of near ones, in the order passed, longer,
    first, each stays unless its shingles' Jaccard similarity to one that stays reaches its `least`; it then duplicates
    the most similar of these. So every duplicate is similar to the very document it names: no chains.

    Args:
        hashes: [documents] of the normalised content; empty for what holds no text, which duplicates nothing.
        good: bool, passed all rules. sizes: characters. least: the similarity from which it is a near duplicate.
        indexed: so many documents at the start are of an earlier corpus's index: they stay, before all others, and
            similarity to them is estimated from the signatures, as their texts are not here.
    """
    old = np.arange(len(hashes)) < indexed
    rank = np.lexsort((np.arange(len(hashes)), -sizes, ~good, ~old))  # best first
    exact = _exact(hashes, good, indexed)
    near, similarity = _near(rank[((exact < 0) & (hashes != ""))[rank]], sizes, least, signed, indexed)
    copies = exact >= 0
    similarity[copies] = np.where(near[exact[copies]] >= 0, similarity[exact[copies]], 1.0)
    exact[copies] = np.where(near[exact[copies]] >= 0, near[exact[copies]], exact[copies])
    return Duplicates(exact, near, similarity)


def _exact(hashes: np.ndarray, good: np.ndarray, indexed: int) -> np.ndarray:
    kept: dict[str, int] = {}
    mine = np.arange(len(hashes)) >= indexed
    for i in [*range(indexed), *np.flatnonzero(good & mine), *np.flatnonzero(~good & mine)]:
        kept.setdefault(hashes[i], int(i))
    same = [-1 if h == "" or kept[h] == i or i < indexed else kept[h] for i, h in enumerate(hashes)]
    return np.array(same, np.int64)


def _near(
    ranked: np.ndarray, sizes: np.ndarray, least: np.ndarray, signed: Signed, indexed: int
) -> tuple[np.ndarray, np.ndarray]:
    near, similarity = np.full(len(sizes), -1, np.int64), np.zeros(len(sizes), np.float32)
    pairs = ranked[candidate_pairs(lambda band: signed.band(band)[ranked])]  # [pairs, 2]: better, worse
    pairs, alike = _verified(pairs[pairs[:, 1] >= indexed], sizes, least, signed, indexed)
    place = np.empty(len(sizes), np.int64)
    place[ranked] = np.arange(len(ranked))
    order = np.lexsort((place[pairs[:, 0]], -alike, place[pairs[:, 1]]))  # worse documents by rank, likest first
    for i in order.tolist():
        better, worse = pairs[i].tolist()
        if near[worse] < 0 and near[better] < 0:
            near[worse], similarity[worse] = better, alike[i]
    return near, similarity


def _verified(
    pairs: np.ndarray, sizes: np.ndarray, least: np.ndarray, signed: Signed, indexed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that are alike enough, and how much: on the shingles themselves, estimated for those of the index."""
    guess = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        chosen = pairs[start : start + ROWS_AT_ONCE]
        documents, at = np.unique(chosen, return_inverse=True)
        rows, at = signed.signatures(documents), at.reshape(chosen.shape)
        guess[start : start + ROWS_AT_ONCE] = (rows[at[:, 0]] == rows[at[:, 1]]).mean(axis=1)
    promising = guess >= least[pairs[:, 1]] - SLACK
    pairs, alike = pairs[promising], guess[promising]
    exact = np.flatnonzero(pairs[:, 0] >= indexed)
    for batch in _batches(pairs[exact], sizes):
        chosen = pairs[exact[batch]]
        documents = np.unique(chosen)
        shingles = [np.unique(shingling.hashes(key)) for key, shingling in signed.contents(documents)]
        at = np.searchsorted(documents, chosen).tolist()
        alike[exact[batch]] = [jaccard(shingles[a], shingles[b]) for a, b in at]
    enough = alike >= least[pairs[:, 1]]
    return pairs[enough], alike[enough]


def _batches(pairs: np.ndarray, sizes: np.ndarray) -> Iterator[slice]:
    """Runs of pairs whose documents hold about CHARACTERS_AT_ONCE, each pair counted by itself."""
    upto = np.cumsum(sizes[pairs].sum(axis=1)) // CHARACTERS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(upto)) + 1).tolist(), len(pairs)]
    yield from (slice(a, b) for a, b in pairwise(edges) if a < b)
