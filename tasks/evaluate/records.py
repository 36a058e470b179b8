"""Lines of JSON, written whole or not at all."""

import json
from pathlib import Path
from typing import Any


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write one object per line; the file appears complete."""
    part = path.with_name(path.name + ".part")
    lines = (json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records)
    part.write_text("".join(lines), encoding="utf-8")
    part.replace(path)


def read_records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def samples(items: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Some items to read, taken evenly."""
    count = min(count, len(items))
    chosen = [items[position * len(items) // count] for position in range(count)]
    return [{"prompt": item["prompt"], "answer": item["answer"], "checks": item.get("checks", {})} for item in chosen]
