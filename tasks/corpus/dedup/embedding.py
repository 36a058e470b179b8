"""Texts as vectors, by which those that say the same in another order or in partly other words are found.

They are lexical: TF-IDF of words, Chinese characters and their pairs (Salton and Buckley 1988), hashed (Weinberger et
al. 2009) and projected at random (Kane and Nelson 2014). No encoder has to be fetched; words of like meaning are not
alike to them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from tasks.corpus.dedup.shingles import Shingling
from tasks.corpus.documents import Draft
from tasks.corpus.table import judged_rows, write_array, write_table

SHINGLINGS = (Shingling("words1", 1, words=True), Shingling("words2", 2, words=True))
BITS = 18
DIMENSIONS, NONZEROS, SEED = 256, 8, 20230316
SCALE = 1 << 14  # of whole numbers: their products add up exactly in float64, in whatever order a machine does it
AT_ONCE = 1 << 18  # features that are projected together
SCHEMA = pa.schema([("row", pa.int32()), ("feature", pa.uint32()), ("count", pa.uint32())])


class FeatureWriter(PipelineStep):
    """Writes what stands in a shard's documents that passed all rules and are neither poems nor code."""

    type, name = "DEDUP", "features"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: DocumentsPipeline, rank: int, _world_size: int) -> DocumentsPipeline:
        tables = [SCHEMA.empty_table()]
        for row, document in enumerate(data):
            draft: Draft | None = document.metadata.get("draft")
            if draft and not draft.poem and draft.code is None and not document.metadata["reason"]:
                features, counts = features_of(draft.key)
                columns = [np.full(len(features), row, np.int32), features, counts]
                tables.append(pa.table(columns, schema=SCHEMA))
            yield document
        write_table(pa.concat_tables(tables), _features(self.folder, rank))


class Embedder(PipelineStep):
    """Turns the features of a shard into vectors."""

    type, name = "DEDUP", "embedding"

    def __init__(self, folder: Path, weights: np.ndarray) -> None:
        super().__init__()
        self.folder, self.weights = folder, weights

    def run(self, _data: DocumentsPipeline, rank: int, _world_size: int) -> DocumentsPipeline:
        columns = (column.to_numpy() for column in pq.read_table(_features(self.folder, rank)).columns)
        write_array(embedded(*columns, self.weights, judged_rows(self.folder, rank)), _vectors(self.folder, rank))
        yield from ()


def features_of(key: str) -> tuple[np.ndarray, np.ndarray]:
    """uint32 [features] below 2 ** BITS in rising order, and how often each stands in a text's key."""
    hashes = np.concatenate([shingling.hashes(key) for shingling in SHINGLINGS])
    found, counts = np.unique(hashes >> np.uint64(64 - BITS), return_counts=True)
    return found.astype(np.uint32), counts.astype(np.uint32)


def feature_weights(folder: Path, shards: int) -> np.ndarray:
    """float32 [2 ** BITS]: 1 + ln((1 + documents) / (1 + documents that hold the feature)), over all shards."""
    holders, documents = np.zeros(1 << BITS, np.int64), 0
    for shard in range(shards):
        table = pq.read_table(_features(folder, shard), columns=["row", "feature"])
        holders += np.bincount(table["feature"].to_numpy(), minlength=1 << BITS)
        documents += len(np.unique(table["row"].to_numpy()))
    return (1 + np.log((1 + documents) / (1 + holders))).astype(np.float32)


def embedded(rows: np.ndarray, features: np.ndarray, counts: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """int16 [size, DIMENSIONS]: unit vectors times SCALE; zeros where a row has no features. `rows` rise."""
    places, signs = _projection()
    sums = np.zeros((size, DIMENSIONS))
    for start in range(0, len(rows), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        first, last, feature = rows[start], rows[some][-1], features[some]
        amounts = signs[feature] * ((1 + np.log(counts[some])) * weights[feature])[:, None]
        cells = (rows[some] - first)[:, None] * DIMENSIONS + places[feature]
        added = np.bincount(cells.ravel(), amounts.ravel(), (last - first + 1) * DIMENSIONS)
        sums[first : last + 1] += added.reshape(-1, DIMENSIONS)
    return unit(sums)


def unit(vectors: np.ndarray) -> np.ndarray:
    """int16 of the same shape: rows of length 1 times SCALE; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.rint(np.divide(vectors * SCALE, lengths, where=lengths > 0, out=np.zeros(vectors.shape))).astype(np.int16)


def read_vectors(folder: Path, shard: int) -> np.ndarray:
    """int16 [texts, DIMENSIONS], on disk: only what is taken from it is read."""
    return np.load(_vectors(folder, shard), mmap_mode="r", allow_pickle=False)


def _projection() -> tuple[np.ndarray, np.ndarray]:
    """Of every feature the dimensions it counts in, one in each of NONZEROS blocks, and its signs there."""
    dice, shape, block = np.random.default_rng(SEED), (1 << BITS, NONZEROS), DIMENSIONS // NONZEROS
    places = dice.integers(0, block, shape) + np.arange(NONZEROS) * block
    return places, dice.integers(0, 2, shape, np.int8) * np.int8(2) - np.int8(1)


def _features(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.features.parquet"


def _vectors(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.vectors.npy"
