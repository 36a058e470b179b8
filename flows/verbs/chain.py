"""Verbs on a preset: run its chain, say what a run would do, say what it would take."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.plan import Selection
from flows.terminal import console, plan_table, tell
from flows.verbs.options import Force, From, Json, Only, Preset, Sets, Until
from tasks.store import Store, home


def run(
    preset: Preset = "poet", sets: Sets = None, only: Only = None, from_: From = None, until: Until = None,
    force: Force = None,
) -> None:  # fmt: skip
    """Run the chain, or part of it."""
    from flows.chain import chain
    from flows.config import load
    from flows.plan import plan
    from flows.run import nothing_to_do, released

    cfg, store = load(preset, tuple(sets or ())), Store(home())
    steps = plan(chain, cfg, store, Selection(only, from_, until, tuple(force or ())))
    console.print(plan_table(steps))
    if nothing_to_do(steps) and released(steps, cfg.model_uri, store):
        console.print(f"[green]Everything is up to date[/green] for {cfg.name}.")
        return
    import os
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an ordinary end, which ends Prefect's server, too
    store.home.mkdir(parents=True, exist_ok=True)  # Prefect's database does not make its folder
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    from flows.deployments import chain as chain_flow

    done = chain_flow(preset, sets=sets, only=only, from_stage=from_, until=until, force=force)
    if {"release", "apply"} <= done.keys():
        console.print(f"Model:  {cfg.model_uri}  (fullchain serve {cfg.model_uri})", soft_wrap=True)
    if "report" in done:
        console.print(f"Report: {store.home / 'store' / done['report'] / 'report.html'}", soft_wrap=True)


def show_plan(
    preset: Preset = "poet", sets: Sets = None, only: Only = None, from_: From = None, until: Until = None,
    force: Force = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Say for every stage whether it would run, and why. Runs nothing."""
    from flows.chain import chain
    from flows.config import load
    from flows.plan import plan

    cfg = load(preset, tuple(sets or ()))
    steps = plan(chain, cfg, Store(home()), Selection(only, from_, until, tuple(force or ())))
    tell([s.as_json() for s in steps], as_json, plan_table(steps))


def show_size(
    preset: Preset = "cluster-8b",
    gpus: Annotated[int, typer.Option("--gpus", min=1, max=65_536, help="How many")] = 8,
    gpu: Annotated[str, typer.Option("--gpu", help="Which, such as A100-80G")] = "A100-80G",
    network: Annotated[str, typer.Option("--network", help="Of a node: ports x rate, such as 4x100Gb")] = "4x100Gb",
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="How many meshes to show")] = 5,
    sets: Sets = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Predict memory, communication, speed and MFU of a preset's pretraining on a cluster, and the mesh to take."""
    from flows.config import load
    from flows.size import size, size_table

    found = size(load(preset, tuple(sets or ())), gpus, gpu, network, top)
    tell(found, as_json, size_table(found))
