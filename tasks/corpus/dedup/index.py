"""What later corpora are compared with: the ids, content hashes and signatures of documents that were kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.dedup.minhash import HASHES
from tasks.errors import StageError

FILE = "index.parquet"
_EXPECTED = f"expected {FILE} of a corpus that ran with save_index, with signatures of {HASHES} values"
SCHEMA = pa.schema([("id", pa.string()), ("hash", pa.string()), ("signature", pa.binary(4 * HASHES))])


@dataclass(frozen=True)
class Index:
    """Documents of earlier corpora. signatures: uint32 [documents, HASHES]."""

    ids: pa.Array
    hashes: np.ndarray
    signatures: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def load_index(path: Path | None) -> Index:
    """The index that a corpus wrote, from its file or its folder; without a path an empty one.

    Raises:
        StageError: it is not such an index, or its signatures have another length.
    """
    if path is None:
        return _index(SCHEMA.empty_table())
    file = path / FILE if path.is_dir() else path
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"corpus.index: {file}: {error}; {_EXPECTED}") from error
    if not table.schema.equals(SCHEMA):
        found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise StageError(f"corpus.index: {file} has the columns {found}; {_EXPECTED}")
    return _index(table)


def write_index(path: Path, tables: Iterable[tuple[pa.Table, np.ndarray]]) -> None:
    """Write ids, hashes and signatures, part by part: (a table with `id` and `hash`, uint32 [rows, HASHES])."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table, signatures in tables:
            values = pa.Array.from_buffers(
                SCHEMA.field("signature").type, len(table), [None, pa.py_buffer(np.ascontiguousarray(signatures))]
            )
            writer.write_table(pa.table([table["id"], table["hash"], values], schema=SCHEMA))


def _index(table: pa.Table) -> Index:
    column = table["signature"].combine_chunks() if len(table) else None
    values = np.frombuffer(column.buffers()[1], np.uint32) if column is not None else np.empty(0, np.uint32)
    ids = pa.chunked_array(table["id"].chunks, pa.string()).combine_chunks()
    return Index(ids, table["hash"].to_numpy(zero_copy_only=False), values.reshape(-1, HASHES)[: len(table)])
