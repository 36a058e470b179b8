"""Doctor and gc: what they say of a home in which something is wrong, or not needed any more."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from flows.housekeeping import Finding, doctor
from tasks.build import build
from tasks.files import file_digest
from tasks.store import Store


@pytest.fixture
def looked_at(store: Store, toy: ModuleType) -> list[Path]:
    """The folders of two artifacts in the order in which the doctor looks at them."""
    made = [build(store, toy.w.words, toy.w.WordsConfig(count=count), {})[0] for count in (2, 3)]
    return sorted(artifact.path for artifact in made)


def found(store: Store, folder: Path) -> Finding:
    return next(finding for finding in doctor(store) if folder.name in finding.what)


def test_doctor_goes_on_after_an_artifact_that_cannot_be_read(
    store: Store, looked_at: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = looked_at

    def refused(file: Path) -> str:
        if first in file.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return file_digest(file)

    monkeypatch.setattr("tasks.artifact.file_digest", refused)
    finding = found(store, first)
    assert not finding.well and "words.txt: Permission denied" in finding.what and "read" in finding.mend
    assert found(store, second).well


def test_doctor_goes_on_after_an_artifact_that_vanishes(
    store: Store, looked_at: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = looked_at

    def collected(file: Path) -> str:
        if first in file.parents:
            shutil.rmtree(first)
        return file_digest(file)

    monkeypatch.setattr("tasks.artifact.file_digest", collected)
    finding = found(store, first)
    assert not finding.well and "went" in finding.what and "doctor" in finding.mend
    assert found(store, second).well
