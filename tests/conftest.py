"""What every test stands on: no state outside of its own folder, no server but loopback's."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from flows.environment import NO_TELEMETRY
from tasks.store import HOME_VARIABLE, Store
from tests.command import Fullchain
from tests.toychain import write_toy

os.environ.update(NO_TELEMETRY)
settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")
_numbers = itertools.count()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs a GPU is left out until it is asked for by name."""
    if "gpu" not in config.getoption("markexpr"):
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="run with -m gpu where docker and an NVIDIA GPU are"))


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


@pytest.fixture(scope="session")
def micro_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fullchain, str]:
    """(the command with a home where `fullchain run micro` ended well, what that printed). Only to be read."""
    fullchain = Fullchain(tmp_path_factory.mktemp("micro") / "new home")
    return fullchain, fullchain("run", "micro")


@pytest.fixture(scope="session")
def micro(micro_run: tuple[Fullchain, str]) -> Fullchain:
    return micro_run[0]


@pytest.fixture
def own_micro(micro: Fullchain, tmp_path: Path) -> Iterator[Fullchain]:
    """A copy of that home, to change."""
    home = tmp_path / "home"
    shutil.copytree(micro.home, home)
    yield Fullchain(home)
    shutil.rmtree(home)
