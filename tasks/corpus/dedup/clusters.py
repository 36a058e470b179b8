"""Spherical k-means (Dhillon and Modha 2001), the same on every machine: all sums are of whole numbers."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tasks.corpus.dedup.embedding import DIMENSIONS, SEED, unit

ROUNDS = 10
LEARNT_FROM = 64  # documents per cluster from which the centres are learnt, at most
CELLS = 1 << 22  # numbers of documents, or of their similarities to centres, that are in memory at once


class Source(Protocol):
    """Unit vectors times SCALE, wherever they lie."""

    def of(self, documents: np.ndarray) -> np.ndarray:
        """int16 [documents, DIMENSIONS] of chosen documents, in rising order."""


def centroids(vectors: Source, documents: np.ndarray, count: int) -> np.ndarray:
    """int16 [count, DIMENSIONS], learnt from documents drawn by a fixed seed. `count` is at most the documents'."""
    dice = np.random.default_rng(SEED)
    drawn = np.sort(dice.choice(documents, min(len(documents), count * LEARNT_FROM), replace=False))
    centres = vectors.of(np.sort(dice.choice(drawn, count, replace=False)))
    for _ in range(ROUNDS if count > 1 else 0):
        sums = np.zeros(centres.shape)
        for some in _batches(drawn, count):
            rows = vectors.of(some)
            np.add.at(sums, _likest(rows, centres), rows)
        moved = np.where(sums.any(axis=1, keepdims=True), unit(sums), centres)  # one without documents stays
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def nearest(vectors: Source, documents: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """int64 [documents]: the centre each is likest to, of equals the first."""
    return np.concatenate([_likest(vectors.of(some), centres) for some in _batches(documents, len(centres))])


def _likest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (rows.astype(np.float64) @ centres.astype(np.float64).T).argmax(axis=1)


def _batches(documents: np.ndarray, centres: int) -> list[np.ndarray]:
    size = max(1, CELLS // max(centres, DIMENSIONS))
    return [documents[start : start + size] for start in range(0, len(documents), size)]
