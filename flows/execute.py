"""A stage's work as a Prefect task: its state is true, its progress and result are seen in the UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.events import emit_event
from prefect.states import Completed

from flows.terminal import TerminalProgress
from tasks.artifact import Artifact
from tasks.output import Watcher
from tasks.stage import Stage

INTERVAL_SECONDS = 2.0


def as_task(stage: Stage, key: str, afresh: bool, work: Callable[[], tuple[Artifact, bool]]) -> None:
    """Do a stage's work as a Prefect task whose state is true: Cached when nothing was built."""

    def body(key: str) -> Any:  # noqa: ARG001 - the cache policy reads it
        artifact, built = work()
        ref = artifact.ref.model_dump()
        if not built:
            return Completed(name="Cached", data=ref)
        create_markdown_artifact(_markdown(artifact), description=f"{stage.label} {artifact.key}")
        return ref

    run: Callable[[str], Any] = stage.prefect_task(body).with_options(refresh_cache=afresh)
    run(key)


@contextmanager
def watch(label: str) -> Iterator[tuple[Watcher, ...]]:
    with TerminalProgress(label) as terminal, PrefectProgress(label) as prefect:
        yield terminal, prefect


class PrefectProgress:
    """One progress artifact per piece of work, updated at most every two seconds; a `tasks.output.Watcher`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bars: dict[str, UUID] = {}
        self._told = 0.0

    def progress(self, label: str, done: float, total: float | None) -> None:
        """Counts without a total have no percentage, so Prefect is not told of them."""
        finished = total is not None and done >= total
        if not total or (time.monotonic() - self._told < INTERVAL_SECONDS and not finished):
            return
        self._told = time.monotonic()
        percent = min(100.0, 100.0 * done / total)
        if label in self._bars:
            update_progress_artifact(self._bars[label], percent)
        else:
            self._bars[label] = cast(UUID, create_progress_artifact(percent, description=label))

    def point(self, _step: int, values: dict[str, float]) -> None:
        """Curves are MLflow's."""

    def event(self, kind: str, text: str) -> None:
        """An event that Prefect's automations can answer."""
        resource = {"prefect.resource.id": f"fullchain.stage.{self.label}", "prefect.resource.name": self.label}
        emit_event(f"fullchain.{kind}", resource, payload={"text": text})

    def __enter__(self) -> PrefectProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open."""


def _markdown(artifact: Artifact) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in artifact.metrics.items())
    return f"**{artifact.stage}** `{artifact.key}`\n\n| metric | value |\n| --- | --- |\n{rows}\n"
