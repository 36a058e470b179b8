"""The kept files of a repository as one document, as InternLM2 made its code (Cai et al. 2024, section 3.1.2)."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.code.languages import comment
from tasks.corpus.publish import SPLITS, split_of
from tasks.corpus.table import CODE_RULE, is_code, read_judged

DOCUMENT = ("id", "text", "source", "metadata", "split")
FILE = (*DOCUMENT, CODE_RULE)


def repository_of(path: str, folders: int) -> str:
    """The folders at the start of a file's path that name its repository; "" where all are one."""
    return "/".join(path.split("/")[:-1][:folders])


def lone_repositories(folder: Path, shards: int) -> set[str]:
    """The sources of whose judged code, as far as it passed the rules, all is of one repository."""
    found: dict[str, set[str]] = defaultdict(set)
    for shard in range(shards):
        table = read_judged(folder, shard, ["source", "metadata", "reason", CODE_RULE])
        files = table.filter(pc.and_(is_code(table), pc.equal(table["reason"], "")))
        for source, facts in zip(files["source"].to_pylist(), files["metadata"].to_pylist(), strict=True):
            if len(found[source]) < 2:
                found[source].add(json.loads(facts)["repository"])
    return {source for source, names in found.items() if len(names) == 1}


def on_one_side(decided: pa.Table, validation: float, alone: Collection[str] = ()) -> pa.Table:
    """The table, with the kept files of each repository in the same split: by a hash of its name, not of each file.

    alone: sources of one repository, whose files are split one by one, as any other text: else one side stays empty.
    """
    rows = decided.select(FILE).to_pylist()
    sides = [row["split"] if row["source"] in alone else _side(row, validation) for row in rows]
    return decided.set_column(decided.column_names.index("split"), "split", pa.array(sides, pa.string()))


def _side(row: dict[str, Any], validation: float) -> str:
    if not row["split"] or len(place := _place(row)) == 1:
        return row["split"]
    return split_of(hashlib.blake2b("\0".join(place).encode(), digest_size=16).hexdigest(), validation)


def concatenated(decided: pa.Table) -> pa.Table:
    """The kept documents of a shard, split by split; files of one repository, in the shard's order, became one, each
    below its path.

    A repository that fills several shards is as many documents, so that memory stays flat.
    """
    parts = [decided.filter(pc.equal(decided["split"], split)).select(FILE).to_pylist() for split in SPLITS]
    made = [_document(files) for rows in parts for files in _together(rows)]
    return pa.Table.from_pylist(made, schema=decided.select(DOCUMENT).schema)


def _together(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """The rows of each document, in the order of their first ones; dumps of code mix their repositories."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for number, row in enumerate(rows):
        place = (str(number),) if row[CODE_RULE] is None else _place(row)
        found.setdefault(place, []).append(row)
    return found.values()


def _place(row: dict[str, Any]) -> tuple[str, ...]:
    """What its document is made of: the files of a repository, or itself."""
    if row[CODE_RULE] is None:
        return (row["id"],)
    return (row["source"], json.loads(row["metadata"])["repository"])


def _document(files: list[dict[str, Any]]) -> dict[str, Any]:
    if files[0][CODE_RULE] is None:
        return files[0]
    facts = [json.loads(row["metadata"]) for row in files]
    texts = [f"{comment(own['path'], own['language'])}\n{row['text']}" for row, own in zip(files, facts, strict=True)]
    told = {"repository": facts[0]["repository"], "paths": [own["path"] for own in facts]}
    return files[0] | {"text": "\n\n".join(texts), "metadata": json.dumps(told, ensure_ascii=False, sort_keys=True)}
