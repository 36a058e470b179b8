"""Verbs on what is built: list it, show it, and where it came from."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from flows.terminal import lineage_tree, tell
from flows.verbs.options import Json, Ref
from tasks.store import Store, home


def ls(stage: Annotated[str, typer.Argument(help="A stage's name")] = "*", as_json: Json = False) -> None:
    """List the artifacts, the newest first."""
    from flows.refs import of_stage

    found = of_stage(stage, Store(home()))
    table = Table("stage", "key", "made", "seconds", "MB", "preset", box=None, pad_edge=False)
    rows = []
    for a in found:
        who, megabytes = a.provenance, sum(f.size for f in a.files) / 1e6
        row = {
            "stage": who["label"], "key": a.key, "made": who["started"], "seconds": who["seconds"],
            "megabytes": round(megabytes, 2), "preset": who.get("preset", ""),
        }  # fmt: skip
        rows.append(row)
        table.add_row(*(str(value) for value in row.values()))
    tell(rows, as_json, table)


def show(ref: Ref, as_json: Json = False) -> None:
    """Show one artifact: what it is, what it was made from, by whom, and how it did."""
    from flows.refs import resolve

    artifact = resolve(ref, Store(home()))
    facts = artifact.model_dump(mode="json") | {"path": str(artifact.path)}
    tell(
        facts,
        as_json,
        json.dumps({k: v for k, v in facts.items() if k not in {"files", "code"}}, ensure_ascii=False, indent=2),
    )


def show_lineage(ref: Ref, as_json: Json = False) -> None:
    """Walk from an artifact or a served model down to the source packages and their SHA-256."""
    from flows.refs import lineage, resolve

    store = Store(home())
    tree = lineage(resolve(ref, store), store)
    tell(tree, as_json, lineage_tree(tree))


def show_trace(
    ref: Ref, token: Annotated[int, typer.Option("--token", min=0, help="Position in the training stream")],
    as_json: Json = False,
) -> None:  # fmt: skip
    """Take a training token to the record it came from."""
    from flows.trace import trace_token

    found = trace_token(ref, token, Store(home()))
    tell(found, as_json, "\n".join(f"{name}: {value}" for name, value in found.items()))


def show_report(ref: Annotated[str, typer.Argument(help="A REF")] = "report@poet", as_json: Json = False) -> None:
    """Print where the report card is."""
    from flows.refs import report_card

    page = str(report_card(ref, Store(home())))
    tell({"report": page}, as_json, page)
