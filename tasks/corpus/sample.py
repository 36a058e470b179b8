"""Records to look at: some dropped by each rule, some kept by a hair, and a random draw of the dropped to audit.

Which ones depends on their ids alone (the least hashes), so it is the same on every run, and each draw is uniform.
"""

from __future__ import annotations

import heapq
import json
import math
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.rules import Bound

PER_RULE, PER_BOUND, AUDIT = 20, 10, 300
NEAR = 0.1  # of a threshold: a kept score within this share of it is near
SHOWN = 1500  # characters of a text


class Sample:
    """Collects from decided shards; memory is bounded by the sample's size."""

    def __init__(self, bounds: list[Bound]) -> None:
        self.bounds = bounds
        self._heaps: dict[tuple[str, str], list[tuple[int, str, dict[str, Any]]]] = defaultdict(list)

    def add(self, decided: pa.Table) -> None:
        dropped = pc.and_(pc.not_equal(decided["reason"], ""), pc.not_equal(decided["reason"], "quarantined"))
        self._offer(decided.filter(dropped), "audit", lambda _row: "all", AUDIT)
        self._offer(decided.filter(pc.not_equal(decided["reason"], "")), "dropped", lambda row: row["reason"], PER_RULE)
        kept = decided.filter(pc.equal(decided["reason"], ""))
        for bound in self.bounds:
            self._offer(kept.filter(_near(kept, bound)), "near", lambda _row, b=bound: b.rule, PER_BOUND)

    def records(self) -> list[dict[str, Any]]:
        """Every chosen record once per draw: `draw` (audit, dropped, near), `of` (the rule), the ledger's row, text."""
        rows = []
        for (draw, of), heap in sorted(self._heaps.items()):
            rows += [{"draw": draw, "of": of, **row} for _, _, row in sorted(heap, key=lambda e: (-e[0], e[1]))]
        return rows

    def _offer(self, table: pa.Table, draw: str, of: Any, size: int) -> None:
        ids, reasons = table["id"].to_pylist(), table["reason"].to_pylist()
        ranks = [-zlib.crc32(one.encode()) for one in ids]
        for i in heapq.nlargest(len(ids) if draw == "dropped" else size, range(len(ids)), key=ranks.__getitem__):
            heap = self._heaps[draw, of({"reason": reasons[i]})]
            if len(heap) == size and ranks[i] <= heap[0][0]:
                continue
            entry = (ranks[i], ids[i], _row(table, i))
            heapq.heappush(heap, entry) if len(heap) < size else heapq.heappushpop(heap, entry)


def write_sample(records: list[dict[str, Any]], path: Path) -> None:
    """JSON lines."""
    lines = (json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def _near(table: pa.Table, bound: Bound) -> pa.ChunkedArray:
    score = pc.fill_null(table[bound.score], math.nan)  # compares as false
    high = math.inf if not bound.most else bound.most * (1 - NEAR)
    low = -math.inf if not bound.least else bound.least * (1 + NEAR)
    close = pc.or_(pc.greater_equal(score, high), pc.less_equal(score, low))
    return close if not bound.language else pc.and_(close, pc.equal(table["detected_language"], bound.language))


def _row(table: pa.Table, i: int) -> dict[str, Any]:
    (row,) = table.slice(i, 1).to_pylist()
    verdicts = {name: value for name, value in row.items() if isinstance(value, bool)}
    scores = {name: round(value, 6) for name, value in row.items() if isinstance(value, float)}
    facts = ("id", "source", "detected_language", "reason", "detail", "duplicate_of", "characters")
    failed = [name for name, passed in verdicts.items() if not passed]
    return {name: row[name] for name in facts} | {"failed": failed, "scores": scores, "text": row["text"][:SHOWN]}
