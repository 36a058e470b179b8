"""Every stage of the micro chain is killed at random moments; the next run ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from flows.chain import chain
from flows.config import load
from flows.plan import Selection, plan
from flows.run import run_chain
from tasks.artifact import Artifact
from tasks.store import HOME_VARIABLE, Store
from tests.command import STAGES, Fullchain

pytestmark = pytest.mark.slow

KILLS = 2  # of each of the twelve stages
ATTEMPTS = 12
PRELOADED = ["torch", "transformers", "datatrove.pipeline.dedup", "onnxruntime", "lightning", "flows.run"]


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.BaseContext:
    """Processes that start with the large libraries loaded, so that a kill falls into a stage's work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def build_stage(home: str, label: str) -> None:
    os.environ[HOME_VARIABLE] = home
    os.setsid()  # a kill reaches its workers and servers as well
    run_chain(chain, load("micro"), Store(Path(home)), Selection(only=label))


@pytest.fixture
def emptied(micro: Fullchain, tmp_path: Path, label: str) -> tuple[Store, Artifact]:
    """(a store that has all but one stage's artifact, that artifact as it was made uninterrupted)."""
    step = next(s for s in plan(chain, load("micro"), Store(micro.home)) if s.label == label)
    assert step.artifact is not None
    store = Store(tmp_path / "home")
    gone = step.artifact.path
    shutil.copytree(micro.home / "store", store.home / "store", ignore=shutil.ignore_patterns(gone.name))
    return store, step.artifact


@pytest.mark.parametrize("label", STAGES)
def test_killed_and_run_again_is_as_if_uninterrupted(
    label: str, emptied: tuple[Store, Artifact], processes: multiprocessing.context.BaseContext
) -> None:
    store, expected = emptied
    draw = random.Random(label)
    longest = max(expected.provenance["seconds"], 0.1)  # from the start of the stage's work
    kills = 0
    folder, work = store.folder(expected.stage, expected.key), store.workplace(expected.stage, expected.key)
    for _ in range(ATTEMPTS):
        process = processes.Process(target=build_stage, args=(str(store.home), label))
        process.start()
        while process.is_alive() and not work.lock.exists():
            process.join(0.002)
        process.join(draw.uniform(0, longest))
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL) if os.getpgid(process.pid) == process.pid else process.kill()
            process.join()
        if folder.exists():  # too late, it was published: whole, then
            assert store.find(expected.stage, expected.key)[0] is not None
            shutil.rmtree(folder)
            longest *= 0.7
        else:
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            if kills == KILLS:
                break
            work.lock.unlink()  # so that the next attempt's is known by its being there
    assert kills == KILLS
    last = processes.Process(target=build_stage, args=(str(store.home), label))
    last.start()
    last.join()
    assert last.exitcode == 0
    made, damage = store.find(expected.stage, expected.key)
    assert made is not None, damage
    if label != "report":  # which shows the times of the other stages, and so differs from run to run
        assert {f.name: f.sha256 for f in made.files} == {f.name: f.sha256 for f in expected.files}
        assert made.digest == expected.digest
    assert {f.name for f in made.files} == {f.name for f in expected.files}
