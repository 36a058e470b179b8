"""What every test stands on: no state outside of its own folder, no server but loopback's."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from flows.environment import NO_TELEMETRY
from tasks.store import HOME_VARIABLE, Store
from tests.toychain import write_toy

os.environ.update(NO_TELEMETRY)
settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")
_numbers = itertools.count()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, which is also the home of whatever runs in this test."""
    home = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    return Store(home)


@pytest.fixture
def toy(tmp_path: Path) -> ModuleType:
    """A chain of three small stages: `toy.chain(toy.Config())`; `toy.folder` and `toy.tag` are for `edit`."""
    tag = str(next(_numbers))
    module = write_toy(tmp_path, tag)
    module.folder, module.tag = tmp_path, tag
    return module
