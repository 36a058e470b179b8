"""`compute: ray`: the same bytes as local processes, failures told, finished shards kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks.corpus.blocks import SpoolReader
from tasks.corpus.ray_shards import RayShardExecutor
from tasks.stage import StageError
from tasks.store import Store
from tests.tasks.corpus.test_corpus import made

RAY = pytest.mark.skipif(" " in sys.executable, reason="Ray starts no workers below a path with a blank")


class Mark(SpoolReader):
    """A block that leaves a file per shard, and fails at shard 1 while a file forbids it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {})

    def run(self, _data: object, rank: int, _world_size: int) -> object:
        if rank == 1 and (self.folder / "forbidden").exists():
            raise StageError("shard one is forbidden")
        with (self.folder / f"{rank}.ran").open("a") as runs:
            runs.write("x")
        yield from ()


@pytest.mark.slow
@RAY
def test_ray_gives_the_bytes_of_local_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.corpus.cut.SHARD", 20_000)
    local = made(Store(tmp_path / "local"), "micro-verses")
    spread = made(Store(tmp_path / "ray"), "micro-verses", compute="ray", workers=2)
    assert (spread.key, spread.digest) == (local.key, local.digest)


@pytest.mark.slow
@RAY
def test_a_failing_shard_is_raised_and_the_next_run_does_only_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "forbidden").touch()
    told: list[int] = []

    def run() -> None:
        RayShardExecutor([Mark(tmp_path)], 5, 1, str(tmp_path / "logs"), told.append).run()

    with pytest.raises(StageError, match="shard one is forbidden"):
        run()
    before = {file.name for file in tmp_path.glob("*.ran")}
    (tmp_path / "forbidden").unlink()
    told.clear()
    run()
    assert before and sum(told) == 5 and told[0] == len(before)
    assert {file.name: file.read_text() for file in tmp_path.glob("*.ran")} == {f"{i}.ran": "x" for i in range(5)}


def test_ray_is_refused_below_a_path_with_a_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/a folder/bin/python")
    with pytest.raises(StageError, match="a path with a blank: /a folder/bin/python"):
        made(Store(tmp_path), "micro-verses", compute="ray")
