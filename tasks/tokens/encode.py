"""One corpus shard -> its tokens and the index of its documents, finished or absent."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.chat import without_specials
from tasks.documents import read_texts

INDEX = pa.schema([("id", pa.string()), ("start", pa.int64()), ("length", pa.int64()), ("bytes", pa.int64())])


def token_type(vocab_size: int) -> str:
    """The smallest little-endian type that holds every id."""
    return "<u2" if vocab_size <= 1 << 16 else "<u4"


def encode_shard(tokenizer: Any, shard: Path, folder: Path, kind: str, share: float, batch: int) -> None:
    """Write `folder/tokens.bin` and `folder/documents.parquet`, unless an earlier attempt did.

    Every document is its leading separator and its tokens; `start` counts tokens from the beginning of this shard,
    `length` includes the separator, `bytes` is the document's size in UTF-8.
    """
    if folder.exists():
        return
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    index: list[dict[str, Any]] = []
    position = 0
    with (draft / "tokens.bin").open("wb") as stream:
        for ids, rows in _encoded(tokenizer, shard, share, batch):
            np.array(ids, dtype=kind).tofile(stream)
            for row in rows:
                index.append({**row, "start": position})
                position += row["length"]
    pq.write_table(pa.Table.from_pylist(index, INDEX), draft / "documents.parquet")
    draft.rename(folder)


def chosen(document: str, share: float) -> bool:
    """Whether a document belongs to this share of all; a larger share contains every smaller one."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") < share * 2**64


def _encoded(tokenizer: Any, shard: Path, share: float, batch: int) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    documents = ((name, without_specials(text)) for name, text in read_texts(shard) if chosen(name, share))
    while chunk := list(islice(documents, batch)):
        encoded = tokenizer([text for _, text in chunk], add_special_tokens=False)["input_ids"]
        ids = [token for tokens in encoded for token in (tokenizer.bos_token_id, *tokens)]
        yield (
            ids,
            [
                {"id": name, "length": len(tokens) + 1, "bytes": len(text.encode())}
                for (name, text), tokens in zip(chunk, encoded, strict=True)
            ],
        )
