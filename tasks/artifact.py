"""An artifact: the immutable output of one stage, described by the `artifact.json` beside its files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr

from tasks.files import file_digest, files_below, write_whole
from tasks.key import Recipe, digest

MANIFEST, LOGS = "artifact.json", "logs"
Metrics = dict[str, int | float | str]


class FileEntry(BaseModel):
    """One published file: its relative name, size in bytes, modification time in ns, and SHA-256."""

    model_config = ConfigDict(frozen=True)
    name: str
    size: int
    mtime_ns: int
    sha256: str


class InputRef(BaseModel):
    """Which artifact stood in a role."""

    model_config = ConfigDict(frozen=True)
    stage: str
    key: str
    digest: str


class Artifact(BaseModel):
    """`digest` covers names and bytes of `files`; metrics, logs and provenance are for people, never for keys."""

    model_config = ConfigDict(frozen=True)
    stage: str
    key: str
    digest: str
    config: dict[str, Any]
    inputs: dict[str, InputRef]
    code: dict[str, str]
    libraries: dict[str, str]
    files: tuple[FileEntry, ...]
    metrics: Metrics
    provenance: dict[str, Any]
    _path: Path = PrivateAttr(default=Path())

    @property
    def path(self) -> Path:
        """The folder with the artifact's files."""
        return self._path

    @property
    def logs(self) -> Path:
        """The folder with timings, curves and pictures, which are no part of the digest."""
        return self._path / LOGS

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.stage, self.config, {r: i.digest for r, i in self.inputs.items()}, self.code, self.libraries)

    @property
    def ref(self) -> InputRef:
        return InputRef(stage=self.stage, key=self.key, digest=self.digest)

    @classmethod
    def load(cls, path: Path) -> Artifact:
        """Read a folder's manifest. Raises OSError or ValueError when there is none or it is damaged."""
        found = cls.model_validate_json((path / MANIFEST).read_bytes())
        found._path = path
        return found

    @classmethod
    def describe(
        cls, path: Path, recipe: Recipe, inputs: dict[str, InputRef], metrics: Metrics, provenance: dict[str, Any]
    ) -> Artifact:
        """Hash a folder's files, write its manifest, and return it."""
        entries = []
        for name, file in _published(path).items():
            info = file.stat()
            entries.append(FileEntry(name=name, size=info.st_size, mtime_ns=info.st_mtime_ns, sha256=file_digest(file)))
        made = cls(
            **(vars(recipe) | {"inputs": inputs}),
            key=recipe.key,
            digest=_output_digest(entries),
            files=tuple(entries),
            metrics=metrics,
            provenance=provenance,
        )
        write_whole(path / MANIFEST, json.dumps(made.model_dump(mode="json"), ensure_ascii=False, indent=1))
        made._path = path
        return made

    def damage(self, thorough: bool = False) -> str | None:
        """What no longer is as it was published, or None.

        Hashes are read only where size or time differ; `thorough` reads all of them. Hidden files that were added, such
        as desktops leave behind, are no damage.
        """
        if (self.key, self.digest) != (self.recipe.key, _output_digest(self.files)):
            return f"{MANIFEST} was changed after it was published"
        there = _published(self._path)
        for entry in self.files:
            file = there.pop(entry.name, None)
            if file is None:
                return f"{entry.name} is missing"
            info = file.stat()
            touched = thorough or info.st_mtime_ns != entry.mtime_ns
            if info.st_size != entry.size or (touched and file_digest(file) != entry.sha256):
                return f"{entry.name} was changed after it was published"
        added = [name for name in there if not any(part.startswith(".") for part in name.split("/"))]
        return f"{min(added)} was added after it was published" if added else None


def _published(folder: Path) -> dict[str, Path]:
    """Relative name -> file, of all that the digest covers."""
    names = {file.relative_to(folder).as_posix(): file for file in files_below(folder)}
    return {name: file for name, file in names.items() if name != MANIFEST and not name.startswith(f"{LOGS}/")}


def _output_digest(files: Iterable[FileEntry]) -> str:
    return digest([[file.name, file.sha256] for file in files])[:20]
