"""Verbs on this machine: start its servers, look for what is wrong, reclaim its disk."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from flows.terminal import console, tell
from flows.verbs.options import Json
from tasks.errors import StageError
from tasks.store import Store, home


def up(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Start Prefect, MLflow, a worker and the deployments on this machine."""
    from flows.servers import up as start

    start(home(), prefect_port, mlflow_port, lambda text: console.print(text, soft_wrap=True))


def doctor(as_json: Json = False) -> None:
    """Look for what is wrong here, and say how to mend it."""
    from flows.housekeeping import doctor as look

    findings = look(Store(home()))
    table = Table("", "what", "mend", box=None, pad_edge=False)
    for f in findings:
        table.add_row("[green]ok[/green]" if f.well else "[red]no[/red]", f.what, "" if f.well else f.mend)
    tell([vars(f) for f in findings], as_json, table)
    if not all(f.well for f in findings):
        raise typer.Exit(1)


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what would go")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also the work of killed stages")] = False,
    as_json: Json = False,
) -> None:
    """Reclaim disk; never what a preset's plan or a release refers to, nor a fetched model that is named or served."""
    from flows.housekeeping import collect, garbage, unneeded_models

    store = Store(home())
    found, unasked = garbage(store, unfinished), None
    try:
        found += unneeded_models(store)
    except StageError as problem:  # all else can go meanwhile
        unasked = problem
    freed = collect(found) if yes else 0
    rows = [{"path": str(g.path), "bytes": g.bytes} for g in found]
    total = sum(g.bytes for g in found) / 1e6
    end = f"{freed / 1e6:.1f} MB freed" if yes else f"{total:.1f} MB would go; --yes deletes"
    tell(rows, as_json, "\n".join([*(str(g.path) for g in found), end]))
    if unasked:
        raise StageError(f"gc: all models in cache/models were left: {unasked}")
