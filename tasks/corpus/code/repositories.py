"""The kept files of a repository as one document, as InternLM2 made its code (Cai et al. 2024, section 3.1.2)."""

from __future__ import annotations

import hashlib
import json
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.code.languages import comment
from tasks.corpus.publish import split_of
from tasks.corpus.table import CODE_RULE

DOCUMENT = ("id", "text", "source", "metadata", "split")
FILE = (*DOCUMENT, CODE_RULE)


def repository_of(path: str, folders: int) -> str:
    """The folders at the start of a file's path that name its repository; "" where all are one."""
    return "/".join(path.split("/")[:-1][:folders])


def on_one_side(decided: pa.Table, validation: float) -> pa.Table:
    """The table, with the kept files of each repository in the same split: by a hash of its name, not of each file."""
    sides = [_side(row, validation) for row in decided.select(FILE).to_pylist()]
    return decided.set_column(decided.column_names.index("split"), "split", pa.array(sides, pa.string()))


def _side(row: dict[str, Any], validation: float) -> str:
    if not row["split"] or len(place := _place(row)) == 1:
        return row["split"]
    return split_of(hashlib.blake2b("\0".join(place).encode(), digest_size=16).hexdigest(), validation)


def concatenated(decided: pa.Table) -> pa.Table:
    """The kept documents of a shard; files of one repository, in the shard's order, became one, each below its path.

    A repository that fills several shards is as many documents, so that memory stays flat.
    """
    rows = decided.filter(pc.not_equal(decided["split"], "")).select(FILE).to_pylist()
    made = [_document(list(files)) for _, files in groupby(rows, _place)]
    return pa.Table.from_pylist(made, schema=decided.select(DOCUMENT).schema)


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
