"""What the artifact and people are told: sources, records set aside, counts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.corpus.publish import SplitWriter, Waterfall
from tasks.corpus.spool import Piece
from tasks.redact import without_secrets
from tasks.sources import Source
from tasks.sources.card import is_local
from tasks.stage import Metrics, Output, StageError


def quarantine(decided: pa.Table, out: Output) -> None:
    """Tell of a shard's records that could not be read."""
    bad = decided.filter(pc.equal(decided["reason"], "quarantined"))
    for row in bad.select(["id", "detail", "source", "member", "offset"]).to_pylist():
        out.quarantine(row["id"], row["detail"], source=row["source"], member=row["member"], offset=row["offset"])


def describe(source: Source, shards: list[list[Piece]]) -> dict[str, object]:
    """A source, for `sources.json`; a local path is known by its bytes only."""
    card, sizes = source.card, Counter()
    for piece in (piece for shard in shards for piece in shard):
        if piece.source == card.name and piece.part in source.parts:
            sizes[piece.member] += piece.bytes
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
            f"nothing left to train on: {counts}; look at the ledger's rules and loosen the one that is wrong"
        )
    for split in splits:
        if not split.documents:
            raise StageError(
                f"validation: no document fell on the {split.folder.name} side ({counts}); change the share"
            )


def measures(waterfall: Waterfall, splits: list[SplitWriter]) -> Metrics:
    """Counts of documents and characters, and why documents were dropped."""
    first, last = waterfall.steps()[0], waterfall.steps()[-1]
    return {
        "documents_read": first["documents"],
        "documents_kept": last["documents"],
        "characters_kept": last["characters"],
        **{f"documents_{split.folder.name}": split.documents for split in splits},
        **{f"dropped_{reason}": count for reason, count in waterfall.dropped().items()},
    }


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
