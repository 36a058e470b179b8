"""Doctor and garbage collection: what is wrong here, and what can go."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from flows.chain import chain
from flows.config import load, presets
from flows.plan import plan
from tasks.artifact import Artifact
from tasks.code import library_versions
from tasks.errors import StageError
from tasks.lock import held
from tasks.registry import abandoned_drafts, unneeded_copies
from tasks.store import Store

LIBRARIES = (
    "torch",
    "lightning",
    "transformers",
    "datatrove",
    "peft",
    "onnxruntime",
    "onnxruntime-genai",
    "mlflow",
    "prefect",
)
LOCK = Path(__file__).resolve().parents[1] / "requirements.txt"
SMALLEST_FREE_BYTES = 5 * 2**30  # what a run of the poet preset and its installation leave room for


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do when it is not well and `what` does not say it."""

    what: str
    well: bool
    mend: str = ""


def doctor(store: Store) -> list[Finding]:
    """Look at the machine, the libraries, and every artifact's bytes."""
    free = shutil.disk_usage(store.home if store.home.exists() else Path.cwd()).free
    findings = [
        Finding(f"Python {sys.version.split()[0]}", sys.version_info >= (3, 11), "install Python 3.11 or newer"),
        Finding(f"{free / 2**30:.0f} GiB free", free > SMALLEST_FREE_BYTES, "make room: `fullchain gc`"),
        Finding("a C++ compiler" if _compiler() else "no C++ compiler: training is not compiled, and slower", True),
    ]
    locked = dict(line.split("==") for line in LOCK.read_text().splitlines() if "==" in line) if LOCK.exists() else {}
    for name, version in library_versions(LIBRARIES).items():
        wanted = locked.get(name, version)
        well = version != "missing" and version.partition("+")[0] == wanted
        findings.append(Finding(f"{name} {version}", well, f"pip install {name}=={wanted}, as in requirements.txt"))
    problems, stages = _listed(store.home / "store")
    for stage in stages:
        more, folders = _listed(stage)
        problems += more + [_look(store, folder) for folder in folders]
    return findings + problems


def _listed(folder: Path) -> tuple[list[Finding], list[Path]]:
    """The folders in a folder, and what keeps them from being listed."""
    try:
        return [], _subfolders(folder)
    except OSError as error:
        return [Finding(f"{error.filename}: {error.strerror}", False, "let this user list it")], []


def _compiler() -> bool:
    return bool(shutil.which("g++") or shutil.which("clang++"))


def _folders(root: Path) -> list[Path]:
    """A folder for each artifact, or for each stage at work."""
    return [path for path in _entries(root) if path.is_dir()]


def _entries(root: Path) -> list[Path]:
    """What lies in the folders of the stages. Raises PermissionError, which a glob would hide, for one of another's."""
    return [path for stage in _subfolders(root) for path in sorted(stage.iterdir())]


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except FileNotFoundError:  # not yet, or not any more
        return []


def _look(store: Store, folder: Path) -> Finding:
    name = f"{folder.parent.name} {folder.name}"
    try:
        artifact, damage = store.find(folder.parent.name, folder.name, thorough=True)
    except StageError as problem:
        return Finding(str(problem), False)
    except OSError as error:
        return Finding(f"{name}: {error.filename or folder}: {error.strerror}", False, "see to the disk")
    if damage:
        return Finding(f"{name}: {damage}", False, "the next run that needs it builds it again; else delete it")
    if artifact is None:
        return Finding(f"{name} went while it was looked at", False, "`fullchain doctor` again")
    return Finding(name, True)


@dataclass(frozen=True)
class Garbage:
    """A folder that nothing refers to, and its size in bytes."""

    path: Path
    bytes: int


def garbage(store: Store, unfinished: bool = False) -> list[Garbage]:
    """Artifacts that neither a preset's current plan, nor its latest run, nor a release was made from.

    Also what killed fetches left; with `unfinished` the work of killed stages, which the next run would go on with.

    Raises:
        StageError: something is being built, and may need what nothing refers to yet; or there is something that this
            user may not read, and what it needs is unknown.
    """
    try:
        return _garbage(store, unfinished)
    except PermissionError as error:
        raise StageError(
            f"gc: {error.filename} may not be read by this user, so nobody knows what is needed; expected all of it to "
            "be readable: let this user read it, or let its owner collect"
        ) from error


def _garbage(store: Store, unfinished: bool) -> list[Garbage]:
    locks = [path for path in _entries(store.home / "work") if path.suffix == ".lock"]
    if busy := [lock.stem for lock in locks if held(lock)]:
        raise StageError(f"gc: {', '.join(busy)} is being built; try again when no run goes on")
    folders = _folders(store.home / "store")
    for folder in folders:
        store.find(folder.parent.name, folder.name)  # one that this user may not read ends it here
    keep = {_key(step.artifact) for name in presets() for step in plan(chain, load(name), store) if step.artifact}
    keep |= {_key(a) for a in store.artifacts("release")}  # each release may be a registered version
    keep |= {_key(a) for a in _newest(store)}  # of presets that are the user's own files, too
    waiting = [a for a in store.artifacts() if _key(a) in keep]
    while waiting:
        artifact = waiting.pop()
        for ref in artifact.inputs.values():
            found, _damage = store.find(ref.stage, ref.key)
            if found is not None and _key(found) not in keep:
                keep.add(_key(found))
                waiting.append(found)
    old = [p for p in folders if (p.parent.name, p.name) not in keep]
    work = [p for p in _folders(store.home / "work") if not held(p.with_name(f"{p.name}.lock"))] if unfinished else []
    return [Garbage(path, _size(path)) for path in sorted([*old, *work, *abandoned_drafts(store.home)])]


def unneeded_models(store: Store) -> list[Garbage]:
    """Of models that were fetched to be served those that no alias means and nobody serves.

    Raises:
        StageError: the registry, which knows, does not answer.
    """
    return [Garbage(path, _size(path)) for path in unneeded_copies(store.home)]


def _newest(store: Store) -> list[Artifact]:
    """Of every preset's every stage the artifact that was made last."""
    newest: dict[tuple[str, str], Artifact] = {}
    for artifact in store.artifacts():  # the newest first
        newest.setdefault((artifact.provenance.get("preset", ""), artifact.provenance["label"]), artifact)
    return list(newest.values())


def collect(found: list[Garbage]) -> int:
    """Delete garbage; returns the bytes that are free again."""
    for item in found:
        shutil.rmtree(item.path)
    return sum(item.bytes for item in found)


def _key(artifact: Artifact) -> tuple[str, str]:
    return artifact.stage, artifact.key


def _size(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
