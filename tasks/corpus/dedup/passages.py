"""Paragraphs and lines that an earlier document holds, by the 64-bit hash of what counts in them.

Workers cut and hash their shards; only hashes that stand in the corpus more than once are remembered in one place, so
memory is 8 bytes a passage while these are found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from tasks.corpus.dedup.key import key_of
from tasks.corpus.dedup.spec import Repeated
from tasks.corpus.documents import Draft
from tasks.corpus.fences import fenced
from tasks.corpus.table import write_table

SCHEMA = pa.schema([("row", pa.int32()), ("start", pa.int32()), ("stop", pa.int32()), ("hash", pa.uint64())])
_PARAGRAPH = re.compile(r"[^\n]+(?:\n[^\n]+)*")
_LINE = re.compile(r"[^\n]+")


class Repeat(NamedTuple):
    """Characters `start` to `stop` of a text, which document `of` holds, too."""

    start: int
    stop: int
    of: int


def passages_of(text: str, spec: Repeated) -> Iterator[tuple[int, int, int]]:
    """(start, stop, hash) of the paragraphs and lines of a text that are long enough; none of fenced code."""
    edges = [0, *(edge for block in fenced(text) for edge in block), len(text)]
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        for wanted, pattern in ((spec.paragraphs, _PARAGRAPH), (spec.lines, _LINE)):
            for found in pattern.finditer(text, begin, end) if wanted else ():
                key = key_of(found[0])
                if len(key) >= spec.min_characters:
                    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
                    yield *found.span(), int.from_bytes(digest, "little")


class PassageWriter(PipelineStep):
    """Writes the passages of a shard's documents that passed all rules and are neither poems nor code."""

    type, name = "DEDUP", "passages"

    def __init__(self, folder: Path, spec: Repeated) -> None:
        super().__init__()
        self.folder, self.spec = folder, spec

    def run(self, data: DocumentsPipeline, rank: int, _world_size: int) -> DocumentsPipeline:
        found: list[tuple[int, int, int, int]] = []
        for row, document in enumerate(data):
            draft: Draft | None = document.metadata.get("draft")
            if draft and not draft.poem and draft.code is None and not document.metadata["reason"]:
                found += ((row, *passage) for passage in passages_of(draft.text, self.spec))
            yield document
        columns = zip(*found, strict=True) if found else [()] * len(SCHEMA)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        write_table(pa.table(arrays, schema=SCHEMA), _file(self.folder, rank))


class Passages:
    """The passages of all shards, asked document by document in the order of the corpus."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.folder, self.shard = folder, -1
        hashes = [pq.read_table(_file(folder, one), columns=["hash"])["hash"].to_numpy() for one in range(shards)]
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        self.several = values[counts > 1]
        self.holders: dict[int, int] = {}

    def repeats(self, shard: int, row: int, document: int) -> list[Repeat]:
        """What earlier documents hold of a document, given by its shard, its row there, and its number in all."""
        known = ((start, stop, self.holders.get(one, document)) for start, stop, one in self._of(shard, row))
        return [Repeat(*place) for place in known if place[2] != document]

    def remember(self, shard: int, row: int, document: int) -> None:
        """Note what this document, which stays, holds as the first."""
        for _, _, one in self._of(shard, row):
            self.holders.setdefault(one, document)

    def _of(self, shard: int, row: int) -> list[tuple[int, int, int]]:
        """(start, stop, hash) of a row's passages that stand in the corpus more than once."""
        if shard != self.shard:
            table = pq.read_table(_file(self.folder, shard))
            self.table = table.filter(pa.array(np.isin(table["hash"].to_numpy(), self.several)))
            self.rows, self.shard = self.table["row"].to_numpy(), shard
        begin, end = np.searchsorted(self.rows, [row, row + 1]).tolist()
        part = self.table.slice(begin, end - begin)
        return list(zip(*(part[name].to_pylist() for name in ("start", "stop", "hash")), strict=True))


def _file(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.passages.parquet"
