"""`fullchain data`: the dataset catalogue, as the command shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from tasks.conversations import NotAConversation, conversation, preference
from tasks.corpus.documents import Malformed, draft
from tasks.sources import Bad, Record, Source, catalogue, load_card, open_source
from tasks.sources.card import is_local

SHOWN = 20  # bad records


def search(text: str) -> list[dict[str, Any]]:
    """Cards whose name, title, kinds or languages contain every word of the text."""
    found = []
    for name in catalogue():
        card = load_card(name)
        parts = card.parts.values()
        row = {
            "name": name, "title": card.title, "kinds": sorted({p.kind for p in parts}),
            "languages": sorted({p.language for p in parts if p.language}), "licence": card.licence,
            "megabytes": round(card.bytes / 1e6, 1),
        }  # fmt: skip
        if all(word.lower() in str(row).lower() for word in text.split()):
            found.append(row)
    return found


def check(reference: str, records: int) -> dict[str, Any]:
    """Fetch a source, verify its bytes, read some of its records as the stages would, and count good and bad ones."""
    source = open_source(reference)
    good, bad, first = 0, [], None
    for item in islice(_judged(source), records):
        if isinstance(item, Bad):
            bad.append(item)
        else:
            good, first = good + 1, first or item.data
    return {
        "sha256": source.sha256, "path": str(source.path), "records": good, "quarantined": len(bad),
        "bad": [record._asdict() for record in bad[:SHOWN]], "first": first,
    }  # fmt: skip


def _judged(source: Source) -> Iterator[Record | Bad]:
    """Every record, or why the stage that it is for would put it aside; of a model, a record for every member."""
    for name, part in source.parts.items():
        alone = replace(source, part=name)
        if part.kind == "model":
            yield from (e if isinstance(e, Bad) else Record(e.name, 0, {"member": e.name}) for e in alone.entries())
            continue
        own = is_local(source.card.uri) and "kind" not in part.model_fields_set
        for item in alone.records():
            yield item if isinstance(item, Bad) else _read(item, _kind(item.data) if own else part.kind, part.is_code)


def _kind(record: dict[str, Any]) -> str:
    """What a record without a card is for, by its fields."""
    if record.keys() & {"text", "paragraphs"}:
        return "text"
    if "chosen" in record or "rejected" in record:
        return "preferences"
    return "instructions" if record.keys() & {"messages", "conversations", "instruction"} else "text"


def _read(record: Record, kind: str, code: bool) -> Record | Bad:
    try:
        if kind == "instructions":
            conversation("", record.data)
        elif kind == "preferences":
            preference("", record.data)
        elif kind in {"text", "poems"}:
            draft(record.data, simplify=False, code=code)
    except (Malformed, NotAConversation) as error:
        return Bad(record.member, record.offset, str(error))
    return record
