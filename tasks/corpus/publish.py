"""From judged shards to the artifact: the ledger and the two splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.dedup.duplicates import Duplicates
from tasks.corpus.dedup.index import Index
from tasks.corpus.dedup.repeated import RULE, TAKEN_OUT, Repeats
from tasks.corpus.dedup.semantic import RULE as SEMANTIC
from tasks.corpus.dedup.semantic import Alike
from tasks.corpus.table import PLACE, read_judged, scores_of, write_table
from tasks.corpus.waterfall import sizes

SPLITS = ("train", "validation")
ROWS_PER_FILE = 100_000
CHARACTERS_PER_FILE = 16 << 20  # of long texts fewer rows, so that what waits for a file does not grow with the input
DUPLICATE_RULES = ("exact_duplicate", "near_duplicate")


def decided_shards(
    folder: Path,
    shards: int,
    found: Duplicates,
    index: Index,
    validation: float,
    repeats: Repeats | None = None,
    alike: Alike | None = None,
) -> Iterator[pa.Table]:
    """Each judged shard with the verdicts on duplicates, what it duplicates, the final reason and its split.

    repeats: takes out what stands in earlier documents; None = nothing is. alike: which say what earlier ones say.
    """
    tables = [read_judged(folder, shard, ["id"]) for shard in range(shards)]
    ids = pa.concat_arrays([index.ids, *(chunk for table in tables for chunk in table["id"].chunks)])
    start = len(index)
    for shard in range(shards):
        table = read_judged(folder, shard)
        rows = slice(start, start + len(table))
        table = _decided(table, ids, found.exact[rows], found.near[rows], found.similarity[rows])
        if alike:
            table = _without_alike(table, ids, alike.asked[rows], alike.of[rows], alike.similarity[rows])
        if repeats:
            table = _without_repeats(repeats, shard, start, table, ids)
        start += len(table)
        yield _published(table, validation)


def _decided(table: pa.Table, ids: pa.Array, exact: np.ndarray, near: np.ndarray, similarity: np.ndarray) -> pa.Table:
    of = np.maximum(exact, near)
    asked = pc.not_equal(table["reason"], "quarantined")
    table = table.append_column("exact_duplicate", pc.if_else(asked, pa.array(exact < 0), None))
    table = table.append_column("near_duplicate", pc.if_else(asked, pa.array(near < 0), None))
    table = table.append_column("duplicate_of", ids.take(pa.array(of, mask=of < 0)))
    table = table.append_column("similarity", pa.array(similarity, pa.float32(), mask=of < 0))
    late = np.where(exact >= 0, "exact_duplicate", np.where(near >= 0, "near_duplicate", ""))
    reason = pc.if_else(pc.equal(table["reason"], ""), pa.array(late.tolist(), pa.string()), table["reason"])
    return table.set_column(table.column_names.index("reason"), "reason", reason)


def _without_alike(
    table: pa.Table, ids: pa.Array, asked: np.ndarray, of: np.ndarray, similarity: np.ndarray
) -> pa.Table:
    goes = pa.array(of >= 0)
    told = {"reason": SEMANTIC, "duplicate_of": ids.take(pa.array(of, mask=of < 0)), "similarity": pa.array(similarity)}
    for name, values in told.items():
        table = table.set_column(table.column_names.index(name), name, pc.if_else(goes, values, table[name]))
    return table.append_column(SEMANTIC, pa.array(of < 0, pa.bool_(), mask=~asked))


def _without_repeats(repeats: Repeats, shard: int, first: int, table: pa.Table, ids: pa.Array) -> pa.Table:
    _, before = sizes(table["text"])
    table = repeats.take_out(shard, first, table, ids)
    return table.append_column(TAKEN_OUT[1], pc.subtract(before, sizes(table["text"])[1]))


def _published(table: pa.Table, validation: float) -> pa.Table:
    """The table with each text's split and sizes."""
    split = [split_of(h, validation) if not r else "" for h, r in _zipped(table, "hash", "reason")]
    table = table.append_column("split", pa.array(split, pa.string()))
    for name, column in zip(("characters", "tokens"), sizes(table["text"]), strict=True):
        table = table.append_column(name, column)
    return table


def split_of(content_hash: str, validation: float) -> str:
    """The side a text falls on: by its content's hash, so it stays there wherever the text stands."""
    return "validation" if int(content_hash[:13], 16) < validation * 16**13 else "train"


def write_ledger(table: pa.Table, path: Path, rules: tuple[str, ...]) -> None:
    """The decisions without the texts: one row per input record."""
    decided = ("reason", "detail", "duplicate_of", "similarity", "split")
    late = (name for name in (SEMANTIC, RULE, *TAKEN_OUT) if name in table.column_names)
    columns = [*PLACE, "characters", "tokens", *rules, *DUPLICATE_RULES, *late, *scores_of(rules), *decided]
    write_table(table.select(columns), path)


class SplitWriter:
    """Writes documents of one split, in input order, as files of 100,000 rows, or of fewer once these are long."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.documents = folder, 0, 0
        self._waiting: list[pa.Table] = []
        self._characters = 0  # of the texts that wait

    def write(self, decided: pa.Table) -> None:
        chosen = decided.filter(pc.equal(decided["split"], self.folder.name))
        self._waiting.append(chosen.select(["id", "text", "source", "metadata"]))
        self.documents += len(chosen)
        self._characters += _characters(chosen)
        while sum(map(len, self._waiting)) >= ROWS_PER_FILE or self._characters >= CHARACTERS_PER_FILE:
            self._file()

    def close(self) -> None:
        if self.files == 0 or any(map(len, self._waiting)):
            self._file()

    def _file(self) -> None:
        table = pa.concat_tables(self._waiting)
        write_table(table.slice(0, ROWS_PER_FILE), self.folder / f"{self.files:05d}.parquet")
        self._waiting = [table.slice(ROWS_PER_FILE)]
        self._characters = _characters(self._waiting[0])
        self.files += 1


def _characters(table: pa.Table) -> int:
    return pc.sum(pc.utf8_length(table["text"])).as_py() or 0


def _zipped(table: pa.Table, *names: str) -> Iterator[tuple]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)
