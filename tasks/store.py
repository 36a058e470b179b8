"""The store: one folder per artifact, published by one rename, and looked at before every use."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.artifact import LOGS, MANIFEST, Artifact
from tasks.errors import StageError

HOME_VARIABLE = "FULLCHAIN_HOME"


def home() -> Path:
    """Where everything that runs make is kept: $FULLCHAIN_HOME, or `.fullchain` in the current folder."""
    return Path(os.environ.get(HOME_VARIABLE) or ".fullchain").absolute()


@dataclass(frozen=True)
class Workplace:
    """Where one key is built. `files` and `logs` start empty at every attempt; `state` outlives kills and retries."""

    root: Path

    @property
    def files(self) -> Path:
        return self.root / "out"

    @property
    def logs(self) -> Path:
        return self.files / LOGS

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def lock(self) -> Path:
        return self.root.with_name(f"{self.root.name}.lock")

    @property
    def tracking_run(self) -> Path:
        """Remembers the MLflow run of a killed attempt, so that the next one continues its curves."""
        return self.root / "mlflow_run_id"

    def clear(self) -> None:
        shutil.rmtree(self.files, ignore_errors=True)
        self.state.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True)


class Store:
    """`home/store/<stage>/<key>/` holds what is published, `home/work/<stage>/<key>/` what is being built."""

    def __init__(self, root: Path) -> None:
        self.home = root

    def folder(self, stage: str, key: str) -> Path:
        return self.home / "store" / stage / key

    def workplace(self, stage: str, key: str) -> Workplace:
        return Workplace(self.home / "work" / stage / key)

    def find(self, stage: str, key: str, thorough: bool = False) -> tuple[Artifact | None, str | None]:
        """(artifact, None) when there and whole; (None, what is damaged) when not whole; (None, None) when absent.

        `thorough` as in `Artifact.damage`.

        Raises:
            StageError: this user may not read all of it.
            OSError: the disk fails.
        """
        try:
            return self._find(stage, key, thorough)
        except PermissionError as error:
            raise StageError(
                f"{stage} {key}: {error.filename}: {error.strerror}; expected all of the store to be readable: let "
                "this user read it; or delete it, and the next run builds it again"
            ) from error

    def _find(self, stage: str, key: str, thorough: bool) -> tuple[Artifact | None, str | None]:
        folder = self.folder(stage, key)
        if not folder.exists():
            return None, None
        try:
            found = Artifact.load(folder)
        except PermissionError:
            raise
        except (OSError, ValueError) as error:
            return None, f"{MANIFEST} cannot be read ({type(error).__name__})" if folder.exists() else None
        if (found.stage, found.key) != (stage, key):
            return None, f"{MANIFEST} is that of {found.stage} {found.key}"
        try:
            damage = found.damage(thorough)
        except FileNotFoundError:  # collected or replaced while it was looked at
            return None, None
        return (None, damage) if damage else (found, None)

    def artifacts(self, stage: str = "*") -> Iterator[Artifact]:
        """Every readable artifact, damaged or not, the newest first."""
        for manifest in self._manifests(stage):
            try:
                yield Artifact.load(manifest.parent)
            except (OSError, ValueError):
                continue  # removed just now; or damaged, or another user's: `doctor` names it, and `find` who wants it

    def _manifests(self, stage: str) -> list[Path]:
        times: dict[Path, int] = {}
        for manifest in (self.home / "store").glob(f"{stage}/*/{MANIFEST}"):
            with suppress(OSError):  # removed just now, or another user's
                times[manifest] = manifest.stat().st_mtime_ns
        return sorted(times, key=lambda manifest: times[manifest], reverse=True)

    def resolve(self, ref: str) -> Artifact:
        """The artifact whose key starts with `ref`.

        Raises:
            StageError: none or several match.
        """
        found = [a for a in self.artifacts() if a.key.startswith(ref)] if ref else []
        if len(found) == 1:
            return found[0]
        several = ", ".join(f"{a.stage} {a.key}" for a in found[:5])
        raise StageError(
            f"{ref!r} matches {f'several artifacts ({several})' if found else 'no artifact'} in {self.home / 'store'}; "
            "expected the first characters of one key; `fullchain ls` lists them"
        )

    def publish(self, place: Workplace, described: Artifact) -> Artifact:
        """Move the workplace's files into the store by one rename; nothing half-made is ever visible."""
        folder = self.folder(described.stage, described.key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():  # damaged, or built again by force
            aside = place.root.with_name(f"{place.root.name}.replaced.{uuid.uuid4().hex}")
            folder.rename(aside)
            place.files.rename(folder)
            shutil.rmtree(aside)
        else:
            place.files.rename(folder)
        shutil.rmtree(place.root)
        return Artifact.load(folder)
