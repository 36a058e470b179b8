"""What the artifact and people are told: sources, records set aside, counts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.publish import SplitWriter
from tasks.corpus.spool import Piece
from tasks.corpus.waterfall import Waterfall
from tasks.redact import without_secrets
from tasks.sources import Source
from tasks.sources.card import is_local
from tasks.stage import Metrics, Output, StageError


def quarantine(decided: pa.Table, out: Output) -> None:
    """Tell of a shard's records that could not be read."""
    bad = decided.filter(pc.equal(decided["reason"], "quarantined"))
    for row in bad.select(["id", "detail", "source", "member", "offset", "byte"]).to_pylist():
        out.quarantine(row.pop("id"), row.pop("detail"), **row)


def require_readable(waterfall: Waterfall, most: float) -> None:
    """Raises StageError when more records than the configured share could not be read."""
    read, bad = waterfall.steps()[0]["documents"], waterfall.dropped().get("quarantined", 0)
    if bad > most * read:
        raise StageError(
            f"sources: {bad} of {read} records could not be read, {bad / read:.1%}; at most {most:.1%} may be "
            "(max_quarantined); look at quarantine.jsonl in the work folder, mend the source or raise the share"
        )


def describe(source: Source, shards: list[list[Piece]]) -> dict[str, object]:
    """A source, for `sources.json`; a local path is known by its bytes only."""
    card, sizes = source.card, Counter()
    mine = (p for shard in shards for p in shard if p.source == card.name and p.part in source.parts)
    for member, start, stop in dict.fromkeys((p.member, p.start, p.stop) for p in mine):  # row groups share a range
        sizes[member] += stop - start
    return {
        "name": card.name,
        "uri": "" if is_local(card.uri) else without_secrets(card.uri),
        "version": card.version,
        "sha256": source.sha256,
        "licence": card.licence,
        "rights": card.rights,
        "files": [{"member": member, "bytes": size} for member, size in sizes.items()],
    }


def require_documents(splits: list[SplitWriter], waterfall: Waterfall) -> None:
    """Raises StageError when a split came out empty: nothing after this stage could work."""
    dropped = ", ".join(f"{reason} {count}" for reason, count in waterfall.dropped().items()) or "nothing"
    counts = f"read {waterfall.steps()[0]['documents']} records, dropped: {dropped}"
    if not any(split.documents for split in splits):
        raise StageError(
            f"nothing left to train on: {counts}; look at the ledger's rules and loosen the one that is wrong "
            "(corpus.thresholds); for texts that are short by nature set corpus.web_rules: false"
        )
    for split in splits:
        if not split.documents:
            raise StageError(
                f"validation: no document fell on the {split.folder.name} side ({counts}); change the "
                "share (corpus.validation)"
            )


def measures(waterfall: Waterfall, splits: list[SplitWriter]) -> Metrics:
    """Counts of documents and characters, and why documents were dropped."""
    first, last = waterfall.steps()[0], waterfall.steps()[-1]
    return {
        "documents_read": first["documents"],
        "documents_kept": last["documents"],
        "characters_kept": last["characters"],
        "tokens_kept": last["tokens"],
        **{f"documents_{split.folder.name}": split.documents for split in splits},
        **{f"dropped_{reason}": count for reason, count in waterfall.dropped().items()},
    }


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
