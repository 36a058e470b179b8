"""Verbs of `fullchain data`: the catalogue's sources, and questions to a corpus built of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.terminal import tell
from flows.verbs.options import Json, Preset, Sets
from tasks.errors import StageError
from tasks.store import Store, home

Source = Annotated[str, typer.Argument(help="A name in the catalogue; `fullchain data search` lists them")]


def search(text: Annotated[str, typer.Argument(help="Words to look for")] = "", as_json: Json = False) -> None:
    """List the sources in the catalogue."""
    from flows.catalogue import search as found_by

    rows = found_by(text)
    table = Table("name", "title", "kinds", "languages", "licence", "MB", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
    tell(rows, as_json, table)


def info(name: Source, as_json: Json = False) -> None:
    """Show a source's card: where it is, what pins it, its licence, and how it is read."""
    from tasks.sources import load_card

    card = load_card(name).model_dump(mode="json")
    tell(card, as_json, json.dumps(card, ensure_ascii=False, indent=2))


def get(name: Source, as_json: Json = False) -> None:
    """Fetch a source through the configured package clients, verify it, and print where it is."""
    from tasks.sources import open_source

    source = open_source(name)
    tell({"path": str(source.path), "sha256": source.sha256}, as_json, str(source.path))


def check(
    name: Annotated[str, typer.Argument(help="A catalogue name, or a file or folder of your own")],
    records: Annotated[int, typer.Option(min=1, help="How many records to read at the most")] = 10_000,
    as_json: Json = False,
) -> None:
    """Read a source as the stage that it is for would, and say what is wrong with its records."""
    from flows.catalogue import check as read

    found = read(name, records)
    tell(found, as_json, json.dumps(found, ensure_ascii=False, indent=2))
    if not found["records"]:
        count = found["quarantined"]
        raise StageError(f"{name}: none of {count} record{'s' * (count != 1)} is good; `bad` says why")


def why(
    record: Annotated[str, typer.Argument(help="A record's id, or a part of it")],
    ref: Annotated[str, typer.Option("--corpus", help="A REF; default: the newest corpus that has it")] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say why a record was kept or dropped: every rule it failed, every score, what it duplicates."""
    from flows.ledger import explain

    found = explain(record, ref, Store(home()))
    tell(found, as_json, json.dumps(found, ensure_ascii=False, indent=2))


def replay(preset: Preset = "poet", sets: Sets = None, as_json: Json = False) -> None:
    """Say what a built corpus would keep under other thresholds, from its ledger, without running anything."""
    from flows.ledger import try_settings

    found = try_settings(preset, tuple(sets or ()), Store(home()))
    tell(found, as_json, json.dumps(found, ensure_ascii=False, indent=2))


def audit(
    ref: Annotated[str, typer.Argument(help="A REF of a corpus")] = "corpus@poet",
    out: Annotated[Path, typer.Option(help="Where to write the records to label")] = Path("audit.jsonl"),
    size: Annotated[int, typer.Option(min=1, max=300, help="How many")] = 100,
    labels: Annotated[Path | None, typer.Option(exists=True, help="A file that you have labelled")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Draw dropped records to label keep or drop; with --labels, tell the share of false drops and its interval."""
    from tasks.corpus.audit import draw, judged

    if labels is not None:
        shares = {name: share._asdict() for name, share in judged(labels).items()}
        tell(shares, as_json, json.dumps(shares, indent=2))
        return
    if out.exists():
        raise StageError(f"{out} is there already, and may hold labels: give it as --labels, or name another --out")
    from flows.ledger import write_lines
    from flows.refs import resolve

    drawn = draw(resolve(ref, Store(home())).path, size)
    write_lines(drawn, out)
    told = f"{len(drawn)} records in {out}: write keep or drop into each label, then give it as --labels"
    tell({"file": str(out), "records": len(drawn)}, as_json, told)
