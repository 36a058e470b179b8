"""Duplicates among all judged shards and an earlier corpus's index, with little of either in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.dedup.duplicates import Duplicates, find_duplicates
from tasks.corpus.dedup.index import FILE, Index, write_index
from tasks.corpus.dedup.minhash import HASHES, band_key, in_bands
from tasks.corpus.dedup.shingles import SHINGLINGS, Shingling
from tasks.corpus.table import read_bands, read_judged


def search_duplicates(folder: Path, shards: int, least: dict[str, float], index: Index) -> Duplicates:
    """Duplicates over the index and all shards, by global number: the index's documents first.

    least: by a shingling's name, the similarity from which a text is a near duplicate.
    """
    columns = ["hash", "size", "reason", "shingling"]
    tables = [_facts(read_judged(folder, shard, columns)) for shard in range(shards)]
    table = pa.concat_tables(tables)
    old = len(index)
    names = table["shingling"].to_numpy(zero_copy_only=False)
    bounds = np.array([least.get(name, 1.0) for name in names], np.float32)
    return find_duplicates(
        hashes=np.concatenate([index.hashes, table["hash"].to_numpy(zero_copy_only=False)]),
        good=np.concatenate([np.ones(old, bool), table["good"].to_numpy(zero_copy_only=False)]),
        sizes=np.concatenate([np.zeros(old, np.int64), table["size"].to_numpy(zero_copy_only=False)]),
        least=np.concatenate([np.ones(old, np.float32), bounds]),
        signed=JudgedSignatures(folder, index, [len(one) for one in tables]),
        indexed=old,
    )


def save_index(folder: Path, judged: Path, ledger: Path, shards: int) -> None:
    """Write the index of what the ledger keeps."""

    def kept() -> Iterator[tuple[pa.Table, np.ndarray]]:
        for shard in range(shards):
            table = pq.read_table(ledger / f"{shard:05d}.parquet", columns=["id", "hash", "reason"])
            stays = np.flatnonzero(pc.equal(table["reason"], "").to_numpy(zero_copy_only=False))
            yield table.take(stays), _rows(judged, shard, stays)

    write_index(folder / FILE, kept())


def _rows(judged: Path, shard: int, chosen: np.ndarray) -> np.ndarray:
    """uint32 [chosen, HASHES]."""
    return read_bands(judged, shard)[:, chosen].transpose(1, 0, 2).reshape(-1, HASHES)


def _facts(table: pa.Table) -> pa.Table:
    return table.drop_columns("reason").append_column("good", pc.equal(table["reason"], ""))


class JudgedSignatures:
    """The signatures of the index and of all judged shards, read as they are needed: documents by global number."""

    def __init__(self, folder: Path, index: Index, rows: list[int]) -> None:
        self.folder, self.index = folder, index
        self.starts = np.cumsum([len(index), *rows])  # of each shard, behind the index

    def band(self, band: int) -> np.ndarray:
        shards = range(len(self.starts) - 1)
        mine = (read_bands(self.folder, shard)[band] for shard in shards)
        return np.concatenate([band_key(rows) for rows in (in_bands(self.index.signatures)[band], *mine)])

    def signatures(self, documents: np.ndarray) -> np.ndarray:
        rows = np.empty((len(documents), HASHES), np.uint32)
        old = documents < len(self.index)
        rows[old] = self.index.signatures[documents[old]]
        for shard, chosen, local in self._by_shard(documents):
            rows[chosen] = _rows(self.folder, shard, local)
        return rows

    def contents(self, documents: np.ndarray) -> Iterator[tuple[str, Shingling]]:
        for shard, _, local in self._by_shard(documents):
            table = read_judged(self.folder, shard, ["key", "shingling"]).take(local)
            for key, name in zip(table["key"].to_pylist(), table["shingling"].to_pylist(), strict=True):
                yield key, SHINGLINGS[name]

    def _by_shard(self, documents: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(shard, which of the documents it holds, their rows there), shard by shard."""
        shard_of = np.searchsorted(self.starts, documents, side="right") - 1
        for shard in np.unique(shard_of[shard_of >= 0]).tolist():
            chosen = np.flatnonzero(shard_of == shard)
            yield shard, chosen, documents[chosen] - self.starts[shard]
