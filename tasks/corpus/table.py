"""The Parquet tables: judged shards in the state folder, and the ledger that is published."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.code.measures import CODE
from tasks.corpus.dedup.minhash import in_bands, signatures
from tasks.corpus.dedup.shingles import POEM, SHINGLINGS
from tasks.corpus.heuristics.measures import LONG, MEASURES, rule_name
from tasks.corpus.pii import NAMES

SCORES = (
    "note_share",
    "han_share",
    "characters_judged",
    "longest_line",
    "title_length",
    "repeated_share",
    "unsafe_per_1000",
    "masked",
    *(f"masked_{name.lower()}" for name in NAMES),
    "evaluation_ngrams",
)
PLACE = ("id", "source", "part", "member", "offset", "byte", "hash", "shingling", "detected_language")
CONTENT = ("text", "metadata")
COMPARED = ("key", "size")  # only the search for duplicates reads them; size: characters of the key
WHOLE = ("offset", "byte", "size")  # whole numbers
HELD = 8 << 20  # characters of text that wait to be written
CLASSIFIED = "classified_"  # begins the names of classifiers' rules
CODE_RULE = "code_language"  # the rule that is asked about every file of code, and about nothing else
FAMILIES = (MEASURES, CODE, LONG)


def scores_of(rules: tuple[str, ...]) -> tuple[str, ...]:
    """The scores kept: those of every corpus, measures of text and of code where rules look at any, classifiers'."""
    soft = (f"{rule.removeprefix(CLASSIFIED)}_score" for rule in rules if rule.startswith(CLASSIFIED))
    measured = (name for family in FAMILIES if not {*map(rule_name, family)}.isdisjoint(rules) for name in family)
    return (*SCORES, *measured, *soft)


def write_judged(folder: Path, shard: int, rows: Iterable[dict[str, Any]], rules: tuple[str, ...]) -> None:
    """One judged shard: SHARD.npy with the signatures, then SHARD.parquet, each whole or not there at all.

    Of the rows' texts about HELD characters are in memory at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    schema, signed = judged_schema(rules), [signatures([], [])]
    file, bands = folder / f"{shard:05d}.parquet", folder / f"{shard:05d}.npy"
    temporary = folder / f".{shard:05d}.{os.getpid()}.tmp"
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for some in _batches(rows):
            sized = [row | {"size": len(row["key"])} for row in some]
            writer.write_table(pa.Table.from_pylist(sized, schema=schema))
            shinglings = [SHINGLINGS.get(row["shingling"], POEM) for row in some]
            signed.append(signatures([row["key"] for row in some], shinglings))
    write_array(in_bands(np.concatenate(signed)), bands)
    temporary.replace(file)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row["text"])
        if size >= HELD:
            yield held
            held, size = [], 0
    if held:
        yield held


def judged_schema(rules: tuple[str, ...]) -> pa.Schema:
    """A record's place and content, every rule's verdict (null = not asked), scores, the first rule that failed."""
    fields = [(name, pa.int64() if name in WHOLE else pa.string()) for name in (*PLACE, *CONTENT, *COMPARED)]
    fields += [(rule, pa.bool_()) for rule in rules] + [(score, pa.float64()) for score in scores_of(rules)]
    return pa.schema([*fields, ("reason", pa.string()), ("detail", pa.string())])


def write_table(table: pa.Table, path: Path) -> None:
    """A Parquet file, whole or not there at all; the same table gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd", row_group_size=65_536)
    temporary.replace(path)


def write_array(array: np.ndarray, path: Path) -> None:
    """A file .npy, whole or not there at all."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npy")
    np.save(temporary, array, allow_pickle=False)
    temporary.replace(path)


def is_code(table: pa.Table) -> pa.ChunkedArray:
    """bool [records]: which are files of code; a table of text alone has no such column."""
    if CODE_RULE in table.column_names:
        return pc.is_valid(table[CODE_RULE])
    return pa.chunked_array([pa.array(np.zeros(len(table), bool))])


def judged_rows(folder: Path, shard: int) -> int:
    """How many records a judged shard has."""
    return pq.read_metadata(folder / f"{shard:05d}.parquet").num_rows


def read_judged(folder: Path, shard: int, columns: list[str] | None = None) -> pa.Table:
    """A judged shard; without `columns` all of it but what only the search for duplicates reads."""
    with pq.ParquetFile(folder / f"{shard:05d}.parquet") as file:  # three times as fast as `read_table` on many columns
        return file.read(columns or [name for name in file.schema_arrow.names if name not in COMPARED])


def read_bands(folder: Path, shard: int) -> np.ndarray:
    """uint32 [BANDS, texts, ROWS], on disk: only what is taken from it is read."""
    return np.load(folder / f"{shard:05d}.npy", mmap_mode="r", allow_pickle=False)
