"""What a person sees in the terminal: a bar per stage while it runs, tables for plans and lists."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.tree import Tree

from flows.plan import Step

console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
STYLES = {"cached": "green", "will run": "yellow", "may run": "cyan", "left out": "dim"}


class TerminalProgress:
    """A stage's bar; without a terminal, one line when it starts and one when it ends. A `tasks.output.Watcher`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._started = time.monotonic()

    def progress(self, label: str, done: float, total: float | None) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(f"{self.label}: {label}", total=total, note="")
        self._bars.update(self._tasks[label], completed=int(done), total=total)

    def point(self, _step: int, values: dict[str, float]) -> None:
        for task in list(self._tasks.values())[-1:]:
            self._bars.update(task, note=" ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:3]))

    def event(self, _kind: str, _text: str) -> None:
        """Events are in the log, which is on the terminal already."""

    def __enter__(self) -> TerminalProgress:
        console.print(f"[bold]{self.label}[/bold] ...")
        self._bars.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._bars.stop()
        end = "[red]failed[/red]" if kind else "[green]done[/green]"
        console.print(f"[bold]{self.label}[/bold] {end} in {time.monotonic() - self._started:.1f} s")


def plan_table(steps: list[Step]) -> Table:
    """A plan: each stage, its status, and why."""
    table = Table("stage", "status", "why", "key", box=None, pad_edge=False)
    for step in steps:
        style = STYLES[step.status]
        table.add_row(step.label, f"[{style}]{step.status}[/{style}]", "; ".join(step.reasons), step.key or "")
    return table


def lineage_tree(node: dict[str, Any], role: str = "", shown: set[str] | None = None) -> Tree:
    """A lineage as a tree, down to the sources and their SHA-256. What was shown once is only named again."""
    shown = set() if shown is None else shown
    tree = Tree(f"{role + ': ' if role else ''}[bold]{node['stage']}[/bold] {node['key']}")
    if node["key"] in shown:
        tree.label = f"{tree.label} [dim](see above)[/dim]"
        return tree
    shown.add(node["key"])
    for name, below in node["inputs"].items():
        tree.add(lineage_tree(below, name, shown))
    for source in node.get("sources", []):
        tree.add(
            f"source [bold]{source['name']}[/bold] {source['uri']}  sha256 {source['sha256']}  ({source['licence']})"
        )
    return tree


def tell(value: Any, as_json: bool, shown: Any) -> None:
    """Print a value as JSON, or what a person is shown of it."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        console.print(shown, soft_wrap=True, markup=not isinstance(shown, str))
