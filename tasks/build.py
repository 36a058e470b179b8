"""Building one artifact: lock, look again, run the function, publish."""

from __future__ import annotations

import errno
import getpass
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from tasks.artifact import Artifact, Metrics
from tasks.config import StageConfig
from tasks.errors import StageError
from tasks.key import Recipe
from tasks.lock import building
from tasks.output import Output, Watcher
from tasks.redact import without_secrets
from tasks.stage import Stage
from tasks.store import Store, Workplace


class StageRun(Watcher, Protocol):
    """The record of one executed stage, kept by a tracker."""

    run_id: str | None

    def finish(self, artifact: Artifact) -> None: ...


Tracker = Callable[[Stage, Recipe, dict[str, Artifact], Workplace], AbstractContextManager[StageRun | None]]


def untracked(
    _stage: Stage, _recipe: Recipe, _inputs: dict[str, Artifact], _place: Workplace
) -> AbstractContextManager[None]:
    """Keeps no record; for tests and for whoever calls a stage by hand."""
    return nullcontext()


def build(
    store: Store,
    stage: Stage,
    cfg: StageConfig,
    inputs: dict[str, Artifact],
    *,
    force: bool = False,
    track: Tracker = untracked,
    watchers: tuple[Watcher, ...] = (),
    provenance: dict[str, Any] | None = None,
) -> tuple[Artifact, bool]:
    """(artifact, whether it was built just now). Two callers with one key: one builds, the other waits for its result.

    Raises:
        StageError: named after the stage, when the user must mend something.
    """
    recipe = stage.recipe(cfg, dict(inputs))
    place = store.workplace(recipe.stage, recipe.key)
    log = Output(place, stage.label).log
    asked = time.time()
    waiting = lambda holder: log.warning("%s: %s builds it already; waiting", stage.label, holder)  # noqa: E731
    with _named(stage.label), building(place.lock, waiting):
        found, damage = store.find(recipe.stage, recipe.key)
        built_meanwhile = found is not None and found.provenance.get("finished", 0) >= asked
        if found is not None and (not force or built_meanwhile):
            return found, False
        if damage:
            log.warning("%s: %s is damaged (%s); building it again", stage.label, recipe.key, damage)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        with track(stage, recipe, inputs, place) as run:
            watching = [*watchers, *([run] if run else [])]
            out = Output(place, stage.label, watching, (provenance or {}).get("chain_run", ""))
            metrics, seconds = _execute(stage, cfg, inputs, place, out)
            times = {"started": began, "finished": time.time(), "seconds": round(seconds, 3)}
            facts = _facts() | times | {"label": stage.label} | (provenance or {})
            facts |= {"mlflow_run_id": run.run_id} if run else {}
            refs = {role: artifact.ref for role, artifact in inputs.items()}
            described = Artifact.describe(place.files, recipe, refs, metrics, facts)
            if run:
                run.finish(described)  # first: once published, no retry would complete the record
            return store.publish(place, described), True


def _execute(
    stage: Stage, cfg: StageConfig, inputs: dict[str, Artifact], place: Workplace, out: Output
) -> tuple[Metrics, float]:
    began = time.monotonic()
    place.clear()
    metrics = dict(stage.function(cfg, out, **inputs) or {})
    if out.quarantined:
        metrics |= {"quarantined": out.quarantined.total()}
        out.log.warning("%s: %d records quarantined: %s", stage.label, out.quarantined.total(), dict(out.quarantined))
    return metrics, time.monotonic() - began


class _named:
    """Puts the stage's name before a StageError, and turns a full disk into one."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and (full := _full_disk(error)):
            raise StageError(
                f"{self.label}: the disk is full ({full}); nothing was published. "
                "Make room (`fullchain gc`) and run again: it goes on where it stopped"
            ) from error
        if isinstance(error, StageError) and not str(error).startswith(f"{self.label}: "):
            raise StageError(f"{self.label}: {error}") from error


FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")


def _full_disk(error: BaseException) -> str:
    """What a full disk refused, when that is behind the error; else "". Not every library keeps the system's number."""
    seen: BaseException | None = error
    while seen is not None:
        numbered = isinstance(seen, OSError) and seen.errno in {errno.ENOSPC, errno.EDQUOT}
        short = isinstance(seen, OSError) and seen.errno is None and "requested and" in str(seen)  # numpy's tofile
        if numbered or short or any(words in str(seen) for words in FULL):
            return str(getattr(seen, "filename", None) or "while writing")
        seen = seen.__cause__ or seen.__context__
    return ""


@cache
def _facts() -> dict[str, Any]:
    """Who, where and from which commit; for people, never for keys."""
    return {
        "user": _user(),
        "host": platform.node(),
        "python": platform.python_version(),
        "argv": [Path(sys.argv[0]).name, *map(without_secrets, sys.argv[1:])],
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _git(*arguments: str) -> str:
    """What git says of this project; nothing where there is no git."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
