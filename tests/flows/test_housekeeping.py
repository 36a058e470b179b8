"""Doctor and gc: what they say of a home in which something is wrong, or not needed any more."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.housekeeping import Finding, collect, doctor, garbage, unneeded_models
from tasks.build import build
from tasks.files import file_digest
from tasks.registry import register
from tasks.store import Store
from tasks.tracking import client
from tests.tasks.test_registry import URI, fresh, home, release, run, served  # noqa: F401 (fixtures)


@pytest.fixture
def looked_at(store: Store, toy: ModuleType) -> list[Path]:
    """The folders of two artifacts in the order in which the doctor looks at them."""
    made = [build(store, toy.w.words, toy.w.WordsConfig(count=count), {})[0] for count in (2, 3)]
    return sorted(artifact.path for artifact in made)


def found(store: Store, folder: Path) -> Finding:
    return next(finding for finding in doctor(store) if folder.name in finding.what)


def refuse(file: Path) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))


def vanish(file: Path) -> None:
    shutil.rmtree(file.parent)


@pytest.mark.parametrize(
    ("happens", "what", "mend"),
    [
        (refuse, "words.txt: Permission denied; expected all of the store to be readable: let this user read it", ""),
        (vanish, "went while", "doctor` again"),
    ],
)
def test_doctor_goes_on_after_an_artifact_that_cannot_be_read_or_vanishes(
    store: Store,
    looked_at: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[Path], None],
    what: str,
    mend: str,
) -> None:
    first, second = looked_at

    def digest(file: Path) -> str:
        if first in file.parents:
            happens(file)
        return file_digest(file)

    monkeypatch.setattr("tasks.artifact.file_digest", digest)
    finding = found(store, first)
    assert not finding.well and what in finding.what and mend in finding.mend
    assert found(store, second).well


def test_doctor_sees_folders_that_are_no_artifacts_and_those_in_anothers_place(
    store: Store, looked_at: list[Path]
) -> None:
    first, second = looked_at
    (first / "artifact.json").unlink()
    moved = second.rename(second.with_name("elsewhere"))
    assert "artifact.json cannot be read" in found(store, first).what
    assert f"artifact.json is that of words {second.name}" in found(store, moved).what


def test_a_stray_file_in_the_store_is_left_alone(store: Store, looked_at: list[Path]) -> None:
    stray = looked_at[0].with_name(".DS_Store")
    stray.write_text("a desktop's")
    shutil.rmtree(looked_at[0])
    looked_at[0].mkdir()
    assert collect(garbage(store)) == 0 and stray.exists() and not looked_at[0].exists()


def test_what_may_not_be_read_is_named_by_doctor_and_keeps_gc_from_deleting(
    store: Store, looked_at: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = {}

    def guarded(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda path: refuse(path) if Path(path) == shut["path"] else method(path)

    for where, name in ((Path, "read_bytes"), (Path, "iterdir"), (os, "scandir")):
        monkeypatch.setattr(where, name, guarded(getattr(where, name)))
    monkeypatch.setenv("FULLCHAIN_HOME", str(store.home))
    inside = (looked_at[0] / "artifact.json", looked_at[1], store.home / "store" / "words")
    for path in (*inside, store.home / "work" / "words"):
        shut["path"] = path
        done = CliRunner().invoke(app, ["gc", "--yes"])
        assert done.exit_code == 1 and str(path) in done.stderr and "let this user read it" in done.stderr
        assert looked_at[0].exists() and looked_at[1].exists()
    for path in inside:
        shut["path"] = path
        assert any(f"{path}: Permission denied" in finding.what for finding in doctor(store))


@pytest.fixture
def copies(home: Path, tmp_path: Path) -> tuple[Path, Path]:  # noqa: F811
    """Two models that were fetched from a registry elsewhere long ago; the alias means the second."""
    client(home).create_experiment("poet", f"elsewhere:{tmp_path / 'remote'}")
    made = []
    for name in ("first", "second"):
        register(home, release(home, name), URI, run(home))
        made.append(served(home))
        untouched_for_days(made[-1])
    return made[0], made[1]


def untouched_for_days(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (1, 1))


def unneeded(home: Path) -> list[Path]:  # noqa: F811
    return [item.path for item in unneeded_models(Store(home))]


def test_gc_deletes_fetched_models_that_no_alias_means_and_nobody_serves(
    home: Path,  # noqa: F811
    copies: tuple[Path, Path],
) -> None:
    former, current = copies
    assert unneeded(home) == [former]
    served(home, "models:/poet/1")  # as its server asks every few seconds
    assert unneeded(home) == []
    untouched_for_days(former)
    freed = collect(unneeded_models(Store(home)))
    assert freed >= len("first") and not former.exists() and current.exists()


def test_gc_deletes_what_killed_fetches_left_behind(home: Path) -> None:  # noqa: F811
    drafts = [home / "cache" / "models" / name for name in (".draft-old", ".draft-new")]
    for draft in drafts:
        draft.mkdir(parents=True)
        (draft / "model.onnx").write_text("half")
    untouched_for_days(drafts[0])
    os.utime(drafts[1], (1, 1))  # a file in it is being written
    assert [item.path for item in garbage(Store(home))] == drafts[:1]


def test_gc_keeps_fetched_models_while_the_registry_does_not_know_them(
    home: Path,  # noqa: F811
    copies: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    another = home / "cache" / "models" / "of another registry"
    another.mkdir()
    untouched_for_days(another)
    assert unneeded(home) == [copies[0]]
    draft = home / "cache" / "models" / ".draft-old"
    draft.mkdir()
    untouched_for_days(draft)
    monkeypatch.setenv("FULLCHAIN_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = CliRunner().invoke(app, ["gc", "--yes"])
    assert done.exit_code == 1 and "does not answer" in done.stderr
    assert copies[0].exists() and another.exists() and not draft.exists()
