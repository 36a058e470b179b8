"""`fullchain data`: the dataset catalogue, as the command shows it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tasks.sources import Bad, catalogue, load_card, open_source


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
    """Fetch a source, verify its bytes, read some of its records, and count the good and the bad."""
    source = open_source(reference)
    good, bad, first = 0, [], None
    for record in islice(source.records(), records):
        if isinstance(record, Bad):
            bad.append(record._asdict())
        else:
            good, first = good + 1, first or record.data
    return {"sha256": source.sha256, "path": str(source.path), "records": good, "bad": bad[:20], "first": first}
