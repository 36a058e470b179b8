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

Entry = tuple[int, str, Any]  # rank, id, the record's row; its number while its shard is at hand


class Sample:
    """Collects from decided shards; memory is bounded by the sample's size."""

    def __init__(self, bounds: list[Bound]) -> None:
        self.bounds = bounds
        self._heaps: dict[tuple[str, str], list[Entry]] = defaultdict(list)

    def add(self, decided: pa.Table) -> None:
        """Offer a shard's records to every draw; of those that are taken, and of no others, the rows are read."""
        ids, reasons = decided["id"].to_pylist(), decided["reason"].to_pylist()
        ranked = [(-zlib.crc32(one.encode()), one, place) for place, one in enumerate(ids)]
        gone: dict[str, list[Entry]] = defaultdict(list)
        for entry, reason in zip(ranked, reasons, strict=True):
            gone[reason].append(entry)
        gone.pop("", None)
        readable = [entry for entry in ranked if reasons[entry[2]] not in {"", "quarantined"}]
        self._offer(readable, ("audit", "all"), AUDIT)
        for reason, entries in gone.items():
            self._offer(entries, ("dropped", reason), PER_RULE)
        kept = pc.equal(decided["reason"], "")
        for bound in self.bounds:
            near = pc.indices_nonzero(pc.and_(kept, _near(decided, bound))).to_pylist()
            self._offer([ranked[place] for place in near], ("near", bound.rule), PER_BOUND)
        self._read(decided)

    def records(self) -> list[dict[str, Any]]:
        """Every chosen record once per draw: `draw` (audit, dropped, near), `of` (the rule), the ledger's row, text."""
        rows = []
        for (draw, of), heap in sorted(self._heaps.items()):
            rows += [{"draw": draw, "of": of, **row} for _, _, row in sorted(heap, key=lambda e: (-e[0], e[1]))]
        return rows

    def _offer(self, entries: list[Entry], draw: tuple[str, str], size: int) -> None:
        heap = self._heaps[draw] if entries else []
        for entry in heapq.nlargest(size, entries, key=lambda one: one[0]):
            if len(heap) < size:
                heapq.heappush(heap, entry)
            elif entry[0] > heap[0][0]:
                heapq.heappushpop(heap, entry)

    def _read(self, decided: pa.Table) -> None:
        """Put the rows in the place of their numbers, wherever these were taken."""
        new = sorted({found for heap in self._heaps.values() for _, _, found in heap if isinstance(found, int)})
        rows = dict(zip(new, map(_row, decided.take(new).to_pylist()), strict=True)) if new else {}
        for heap in self._heaps.values():
            heap[:] = [(rank, one, rows[at] if isinstance(at, int) else at) for rank, one, at in heap]


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


def _row(row: dict[str, Any]) -> dict[str, Any]:
    verdicts = {name: value for name, value in row.items() if isinstance(value, bool)}
    scores = {name: round(value, 6) for name, value in row.items() if isinstance(value, float)}
    facts = ("id", "source", "detected_language", "reason", "detail", "duplicate_of", "characters")
    failed = [name for name, passed in verdicts.items() if not passed]
    return {name: row[name] for name in facts} | {"failed": failed, "scores": scores, "text": row["text"][:SHOWN]}
