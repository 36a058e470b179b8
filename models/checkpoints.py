"""A run's folder of checkpoints, on disk or at any fsspec URL: which are whole, which is the best, which may go.

`step-N/record.json` comes last and makes a checkpoint whole: what a killed run left without it is none.
"""

import json
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

PREFIX = "step-"
RECORD, SCORE = "record.json", "score.json"


def steps(root: Path | str) -> list[int]:
    """The steps that have a whole checkpoint under `root`, oldest first."""
    fs, base = place(root)
    if not fs.exists(base):
        return []
    folders = [str(path).rstrip("/") for path in fs.ls(base, detail=False)]
    names = [path.rpartition("/")[2] for path in folders if fs.exists(f"{path}/{RECORD}")]
    return sorted(int(name.removeprefix(PREFIX)) for name in names if name.startswith(PREFIX))


def drop_after(root: Path | str, step: int) -> None:
    """Forget the checkpoints of steps behind `step`, newest first."""
    for newer in reversed([found for found in steps(root) if found > step]):
        drop(root, newer)


def prune(root: Path | str, keep: int) -> None:
    """Drop all but the newest `keep` checkpoints and the one with the best score."""
    chosen = best(root)
    for old in steps(root)[:-keep]:
        if old != chosen:
            drop(root, old)


def drop(root: Path | str, step: int) -> None:
    """Remove a checkpoint, whole or not; its record first, so that a kill leaves none behind that only looks whole."""
    fs, folder = place(root, step)
    if fs.exists(f"{folder}/{RECORD}"):
        fs.rm(f"{folder}/{RECORD}")
    if fs.exists(folder):
        fs.rm(folder, recursive=True)


def score(root: Path | str, step: int, value: float) -> None:
    """Note how good a checkpoint turned out to be, lower is better; the best outlives the newest."""
    fs, folder = place(root, step)
    if fs.exists(f"{folder}/{RECORD}"):
        write(folder_url(root, step), SCORE, value)


def best(root: Path | str) -> int | None:
    """The step with the lowest score."""
    scores = {step: value for step in steps(root) if (value := read(folder_url(root, step), SCORE)) is not None}
    return min(scores, key=scores.__getitem__) if scores else None


def read(root: Path | str, name: str) -> Any:
    """A JSON file beside or in a checkpoint, None when there is none."""
    fs, base = place(root)
    if not fs.exists(f"{base}/{name}"):
        return None
    with fs.open(f"{base}/{name}") as stream:
        return json.load(stream)


def write(root: Path | str, name: str, value: Any) -> None:
    """A JSON file that is there whole or not at all: on a disk by a rename, in an object store by its nature."""
    fs, base = place(root)
    fs.makedirs(base, exist_ok=True)
    path = f"{base}/{name}"
    draft = f"{path}.draft" if isinstance(fs, LocalFileSystem) else path
    with fs.open(draft, "w") as stream:
        stream.write(json.dumps(value))
    if draft != path:
        Path(draft).replace(path)


def folder_url(root: Path | str, step: int) -> str:
    """Where a step's checkpoint lies, in the root's own words."""
    return f"{str(root).rstrip('/')}/{PREFIX}{step:09d}"


def place(root: Path | str, step: int | None = None) -> tuple[Any, str]:
    """The file system, and the path on it of `root` or of a step's folder in it."""
    fs, path = fsspec.core.url_to_fs(str(root) if step is None else folder_url(root, step))
    fs.invalidate_cache()  # other ranks write, too
    return fs, path.rstrip("/")
