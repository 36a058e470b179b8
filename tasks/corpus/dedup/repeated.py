"""Takes out of every document what earlier ones hold, and drops those of which too little is left."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.dedup.passages import Passages, Repeat
from tasks.corpus.dedup.shingles import POEM
from tasks.corpus.dedup.spans import Spans
from tasks.corpus.dedup.spec import Repeated
from tasks.corpus.fences import split
from tasks.corpus.table import is_code

RULE = "repeated_text"
TAKEN_OUT = ("repeated_characters", "repeated_tokens")  # columns of the ledger: how much went
_BLANK_LINES = re.compile(r"\n{3,}")


class Left(NamedTuple):
    """What is left of a text, how many characters went, and the document that holds most of them (-1 = none)."""

    text: str
    characters: int
    of: int


class Repeats:
    """Asked shard by shard, in order. A document that is dropped here holds nothing for those that follow."""

    def __init__(self, spec: Repeated, least: int, folder: Path, shards: int) -> None:
        self.least = least  # characters of a text that stays
        self.passages = Passages(folder, shards) if spec.paragraphs or spec.lines else None
        self.spans = Spans(folder / "spans.bin", spec.span) if spec.span else None

    def take_out(self, shard: int, first: int, table: pa.Table, ids: pa.Array) -> pa.Table:
        """The decided table with shorter texts, the rule's verdicts and reason, and how many characters went.

        first: the number of its first document; ids: of all documents, by number.
        """
        columns = {name: table[name].to_pylist() for name in ("text", "reason", "detail", "duplicate_of", "similarity")}
        verdicts: list[bool | None] = [None] * len(table)
        taken = np.zeros(len(table), np.int32)
        prose = pc.invert(pc.or_(is_code(table), pc.equal(table["shingling"], POEM.name)))
        for row, (reason, asked) in enumerate(zip(columns["reason"], prose.to_pylist(), strict=True)):
            if reason or not asked:
                continue
            whole = columns["text"][row]
            left = self._left(shard, row, first + row, whole)
            taken[row], verdicts[row] = left.characters, not left.characters or len(left.text) >= self.least
            if verdicts[row]:
                columns["text"][row] = left.text
                self._remember(shard, row, first + row, left.text)
            else:
                columns["reason"][row], columns["duplicate_of"][row] = RULE, ids[left.of].as_py()
                columns["similarity"][row] = left.characters / len(whole)
                columns["detail"][row] = f"{len(left.text)} characters without what earlier documents hold"
        for name, values in columns.items():
            table = table.set_column(
                table.column_names.index(name), name, pa.array(values, table.schema.field(name).type)
            )
        return table.append_column(RULE, pa.array(verdicts, pa.bool_())).append_column(TAKEN_OUT[0], pa.array(taken))

    def _left(self, shard: int, row: int, document: int, text: str) -> Left:
        size, holders = len(text), Counter[int]()
        for repeats in (
            lambda _text: self.passages.repeats(shard, row, document) if self.passages else [],
            lambda text: self.spans.repeats(text) if self.spans else [],
        ):
            found = repeats(text)
            for one in found:
                holders[one.of] += one.stop - one.start
            text = without(text, found)
        return Left(text, size - len(text), max(holders, key=lambda one: (holders[one], -one), default=-1))

    def _remember(self, shard: int, row: int, document: int, text: str) -> None:
        if self.passages:
            self.passages.remember(shard, row, document)
        if self.spans:
            self.spans.remember(text, document)


def without(text: str, repeats: list[Repeat]) -> str:
    """A text without some of its ranges, and without the blank lines that they leave; fenced code stays as it is."""
    if not repeats:
        return text
    pieces, at = [], 0
    for start, stop, _ in sorted(repeats):
        pieces.append(text[at : max(at, start)])
        at = max(at, stop)
    left = "".join([*pieces, text[at:]])
    return "".join(_tidy(prose) + code for prose, code in split(left)).strip()


def _tidy(prose: str) -> str:
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in prose.split("\n")))
