"""How many documents, characters and tokens are left after each rule; in all, by language and by source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.dedup.repeated import RULE, TAKEN_OUT

UNITS = ("documents", "characters", "tokens")
UNKNOWN = "unknown"


def sizes(texts: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """(characters, tokens) of each text, int32.

    A token is counted as a Chinese character, a run of other letters and digits, or a sign: what tokenizers start from.
    """
    from tasks.corpus.native.characters import classes
    from tasks.corpus.native.sizes import count

    column = texts.combine_chunks()
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    characters, tokens = np.empty((2, len(column)), np.int32)
    count(np.frombuffer(data or b"", np.uint8), places, classes(), characters, tokens)
    return pa.array(characters), pa.array(tokens)


class Waterfall:
    """Counts decided documents by the rule that dropped them; `reasons` are those rules in order."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = ("quarantined", *reasons)
        self._counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, decided: pa.Table) -> None:
        """Count a table with reason, source, detected_language, characters, tokens, and what was taken out of texts."""
        keys = ["reason", "source", "detected_language"]
        sums = [("characters", "count"), ("characters", "sum"), ("tokens", "sum")]
        for row in decided.group_by(keys).aggregate(sums).to_pylist():
            amounts = (row["characters_count"], row["characters_sum"], row["tokens_sum"])
            self._count(row["reason"], row, amounts)
        if RULE in decided.column_names:
            kept = decided.filter(pc.equal(decided["reason"], ""))
            for row in kept.group_by(keys).aggregate([(name, "sum") for name in TAKEN_OUT]).to_pylist():
                self._count(RULE, row, (0, *(row[f"{name}_sum"] for name in TAKEN_OUT)))

    def _count(self, reason: str, row: dict[str, Any], amounts: tuple[int, ...]) -> None:
        counts = self._counts[reason, row["source"], row["detected_language"] or UNKNOWN]
        counts[:] = (a + b for a, b in zip(counts, amounts, strict=True))

    def dropped(self) -> dict[str, int]:
        """Documents per reason, those that dropped any."""
        counts = {r: sum(c[0] for key, c in self._counts.items() if key[0] == r) for r in self.reasons}
        return {reason: n for reason, n in counts.items() if n}

    def steps(self) -> list[dict[str, Any]]:
        """One entry per step, from `read` to the last rule: what is left, in all and by language and source."""
        return list(self._steps())

    def _steps(self) -> Iterator[dict[str, Any]]:
        gone: set[str] = set()
        for step in ("read", *self.reasons):
            gone |= {step}
            left = {key: counts for key, counts in self._counts.items() if key[0] not in gone}
            yield {
                "step": step,
                **_sum(left.values()),
                "sources": {name: _sum(c for k, c in left.items() if k[1] == name) for name in self._names(1)},
                "languages": {name: _sum(c for k, c in left.items() if k[2] == name) for name in self._names(2)},
            }

    def _names(self, place: int) -> list[str]:
        return sorted({key[place] for key in self._counts})


def _sum(rows: Any) -> dict[str, int]:
    totals = [0, 0, 0]
    for row in rows:
        totals = [a + b for a, b in zip(totals, row, strict=True)]
    return dict(zip(UNITS, totals, strict=True))
