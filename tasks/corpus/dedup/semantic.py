"""Documents whose vectors point the same way as an earlier one's: SemDeDup (Abbas et al. 2023), section 3."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from tasks.corpus.dedup.clusters import centroids, nearest
from tasks.corpus.dedup.duplicates import Duplicates
from tasks.corpus.dedup.embedding import DIMENSIONS, SCALE, read_vectors
from tasks.corpus.dedup.spec import Semantic

RULE = "semantic_duplicate"
AT_ONCE = 1024  # documents that are compared at once


@dataclass(frozen=True)
class Alike:
    """Per document: was it compared, the document that it is like (-1 = none) and their cosine similarity."""

    asked: np.ndarray  # bool
    of: np.ndarray  # int64
    similarity: np.ndarray  # float32


def search_alike(folder: Path, shards: int, found: Duplicates, indexed: int, spec: Semantic) -> Alike:
    """Compare, within clusters, all documents that passed the rules and are no other duplicates.

    found: the other duplicates, by global number; the first `indexed` are of an earlier corpus's index, of which no
        vectors are known.
    """
    vectors = Vectors(folder, shards, indexed)
    asked = vectors.asked & (found.exact < 0) & (found.near < 0)
    of, similarity = np.full(len(asked), -1, np.int64), np.zeros(len(asked), np.float32)
    documents = np.flatnonzero(asked)
    if len(documents):
        centres = centroids(vectors, documents, max(1, round(len(documents) / spec.cluster)))
        cluster = nearest(vectors, documents, centres)
        order = np.argsort(cluster, kind="stable")
        for members in np.split(documents[order], np.flatnonzero(np.diff(cluster[order])) + 1):
            place, cosine = first_alike(vectors.of(members), spec.least)
            of[members] = np.where(place < 0, -1, members[place])
            similarity[members] = cosine
    return Alike(asked, of, similarity)


def first_alike(vectors: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Per vector the earlier one that stays and is likest to it, from `least` on (-1 = it stays), and their cosine.

    vectors: int16 [N, DIMENSIONS], unit vectors times SCALE. One that goes is compared with none after it: no chains.
    """
    place, similarity = np.full(len(vectors), -1, np.int64), np.zeros(len(vectors))
    for start in range(0, len(vectors), AT_ONCE):
        mine = np.arange(start, min(start + AT_ONCE, len(vectors)))
        best, at = np.zeros(len(mine)), np.zeros(len(mine), np.int64)
        for begin in range(0, start, AT_ONCE):
            kept = begin + np.flatnonzero(place[begin : begin + AT_ONCE] < 0)
            _improve(best, at, _cosines(vectors[mine], vectors[kept]), kept)
        own = _cosines(vectors[mine], vectors[mine])
        for i in range(len(mine)):
            kept = np.flatnonzero(place[mine[:i]] < 0)
            _improve(best[i : i + 1], at[i : i + 1], own[i : i + 1, kept], mine[kept])
            if best[i] >= least:
                place[mine[i]], similarity[mine[i]] = at[i], best[i]
    return place, similarity


def _improve(best: np.ndarray, at: np.ndarray, cosines: np.ndarray, kept: np.ndarray) -> None:
    """Take over, in place, what is likelier than the best so far; of equals the earlier stays."""
    if not len(kept):
        return
    column = cosines.argmax(axis=1)
    value = cosines[np.arange(len(cosines)), column]
    better = value > best
    best[better], at[better] = value[better], kept[column[better]]


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.minimum(a.astype(np.float64) @ b.astype(np.float64).T / SCALE**2, 1.0)


class Vectors:
    """The vectors of all judged shards, read as they are needed: documents by global number."""

    def __init__(self, folder: Path, shards: int, indexed: int) -> None:
        self.shards = [read_vectors(folder, shard) for shard in range(shards)]
        self.starts = np.cumsum([indexed, *map(len, self.shards)])
        mine = [vectors.any(axis=1) for vectors in self.shards]
        self.asked = np.concatenate([np.zeros(indexed, bool), *mine])  # documents with a vector: those that passed

    def of(self, documents: np.ndarray) -> np.ndarray:
        """int16 [documents, DIMENSIONS] of chosen documents, in rising order."""
        rows = np.empty((len(documents), DIMENSIONS), np.int16)
        edges = np.searchsorted(documents, self.starts)
        for shard, (begin, end) in enumerate(pairwise(edges.tolist())):
            rows[begin:end] = self.shards[shard][documents[begin:end] - self.starts[shard]]
        return rows
