"""All that a stage sees of the world: its folders, progress, log, curve and quarantine."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tasks.store import Workplace


class Watcher(Protocol):
    """Whoever shows a running stage: the terminal, Prefect's UI, MLflow. A test needs none."""

    def progress(self, label: str, done: float, total: float | None) -> None: ...

    def point(self, step: int, values: dict[str, float], /) -> None: ...

    def event(self, kind: str, text: str, /) -> None: ...


class Progress:
    """Counts work done and tells the watchers, at most twice a second."""

    def __init__(self, label: str, total: float | None, watchers: list[Watcher]) -> None:
        self.label, self.total, self.done = label, total, 0.0
        self._watchers, self._told = watchers, 0.0

    def advance(self, n: float = 1) -> None:
        self.done += n
        if time.monotonic() - self._told >= 0.5:
            self._tell()

    def close(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        for watcher in self._watchers:
            watcher.progress(self.label, self.done, self.total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Output:
    """A stage's outside world.

    path:  empty at the start of every attempt; everything in it becomes the artifact.
    state: outlives kills and retries of the same key; never published.
    logs:  published beside the files, outside of the output digest.
    chain_run: the tracked run of the chain that this attempt belongs to; empty when there is none.
    """

    def __init__(self, place: Workplace, name: str, watchers: list[Watcher] | None = None, chain_run: str = "") -> None:
        self.path: Path = place.files
        self.state: Path = place.state
        self.logs: Path = place.logs
        self.log = logging.getLogger(f"fullchain.{name}")
        self.chain_run = chain_run
        self.quarantined: Counter[str] = Counter()
        self._watchers = watchers or []

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """For a stage whose work is done by processes of its own: whom to tell what they say."""
        return tuple(self._watchers)

    def progress(self, label: str, total: float | None = None) -> Progress:
        return Progress(label, total, self._watchers)

    def metrics(self, step: int, **values: float) -> None:
        """One point of a curve. A step told twice (after a resume) counts once: the last wins."""
        with (self.logs / "curves.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")
        for watcher in self._watchers:
            watcher.point(step, values)

    def event(self, kind: str, text: str) -> None:
        """What a person should know of a long piece of work: into the log, `logs/events.jsonl` and the watchers."""
        self.log.warning("%s", text)
        record = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "kind": kind, "text": text}
        with (self.logs / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        for watcher in self._watchers:
            watcher.event(kind, text)

    def quarantine(self, record_id: str, reason: str, **where: Any) -> None:
        """Set a bad record aside, with its reason and place, in `quarantine.jsonl`."""
        self.quarantined[reason] += 1
        with (self.path / "quarantine.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(
                json.dumps({"id": record_id, "reason": reason, **where}, ensure_ascii=False, sort_keys=True) + "\n"
            )
