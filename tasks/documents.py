"""Reading a corpus artifact: its documents, split by split, in their one order."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import StageError


@dataclass(frozen=True)
class Document:
    """One cleaned document; `metadata` depends on its source (a poem's: title, author, lines, form)."""

    id: str
    text: str
    source: str
    metadata: dict[str, Any]


def shards(corpus: Path, split: str) -> list[Path]:
    """The Parquet files of a split, in order.

    Raises:
        StageError: the split has none.
    """
    found = sorted((corpus / split).glob("*.parquet"))
    if not found:
        raise StageError(f"corpus: no {split}/*.parquet in the artifact; expected at least one; rebuild the corpus")
    return found


def read_texts(shard: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of every document in a shard."""
    for row in _rows(shard, ["id", "text"]):
        yield row["id"], row["text"]


def read_documents(shard: Path) -> Iterator[Document]:
    """Every document in a shard, with its metadata."""
    for row in _rows(shard, ["id", "text", "source", "metadata"]):
        yield Document(row["id"], row["text"], row["source"], json.loads(row["metadata"] or "{}"))


def _rows(shard: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()
