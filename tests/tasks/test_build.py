"""Building: hits, damage, early cut-off, quarantine, a full disk, kills, and two builders at once."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tasks.build import build
from tasks.files import files_below
from tasks.stage import Metrics, Output, StageConfig, StageError, stage
from tasks.store import Store


class Nothing(StageConfig):
    steps: int = 5
    die_at: int = -1


@stage()
def counting(cfg: Nothing, out: Output) -> Metrics:
    """Add a line per step, with its state kept, so that a killed attempt goes on."""
    kept = out.state / "done.txt"
    lines = kept.read_text().splitlines() if kept.exists() else []
    (out.logs / "resumed.txt").write_text(str(len(lines)))
    for step in range(len(lines), cfg.steps):
        if step == int(os.environ.get("DIE_AT", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        lines.append(str(step))
        kept.write_text("\n".join(lines))
    (out.path / "all.txt").write_text("\n".join(lines))
    return {"steps": len(lines)}


@stage()
def spoiled(cfg: Nothing, out: Output) -> Metrics:
    """Set a record aside."""
    out.quarantine("r1", "not valid JSON", file="a.jsonl", offset=12)
    out.quarantine("r2", "not valid JSON", file="a.jsonl", offset=40)
    return {"records": 1}


@stage()
def refusing(cfg: Nothing, out: Output) -> Metrics:
    """Ask for a mend."""
    raise StageError("steps: 5 is odd; expected an even number; change it")


class Filling(StageConfig):
    way: str = "plain"


@stage()
def filling(cfg: Filling, out: Output) -> Metrics:
    """Write to a device that is always full."""
    full = Path("/dev/full")
    if cfg.way == "plain":
        with full.open("w") as stream:
            stream.write("x" * 100_000)
    elif cfg.way == "numpy":
        np.zeros(100_000).tofile(full)
    elif cfg.way == "torch":
        with full.open("wb") as stream:
            torch.save(torch.zeros(100_000), stream)
    else:
        arrow = pa.table({"x": np.random.default_rng(0).random(100_000)})
        with full.open("wb") as stream:  # by its name, pyarrow would remove the device
            pq.write_table(arrow, stream)
    return {}


def test_the_second_time_nothing_runs(store: Store, toy: ModuleType) -> None:
    first, built = build(store, toy.w.words, toy.w.WordsConfig(), {})
    again, rebuilt = build(store, toy.w.words, toy.w.WordsConfig(workers=8), {})
    assert (built, rebuilt) == (True, False)
    assert again == first
    assert (again.path / "words.txt").read_text() == "word0\nword1\nword2"


def test_force_builds_again_and_replaces(store: Store, toy: ModuleType) -> None:
    first, _ = build(store, toy.w.words, toy.w.WordsConfig(), {})
    again, built = build(store, toy.w.words, toy.w.WordsConfig(), {}, force=True)
    assert built
    assert again.digest == first.digest
    assert again.provenance["finished"] > first.provenance["finished"]


@pytest.mark.parametrize("spoil", ["changed", "missing", "manifest", "same size", "added", "digest", "files"])
def test_a_file_altered_by_hand_is_found_and_rebuilt(store: Store, toy: ModuleType, spoil: str) -> None:
    made, _ = build(store, toy.w.words, toy.w.WordsConfig(), {})
    file = made.path / "words.txt"
    if spoil == "changed":
        file.write_text("altered")
    elif spoil == "same size":
        file.write_text("W" + file.read_text()[1:])
    elif spoil == "missing":
        file.unlink()
    elif spoil == "added":
        (made.path / "more.txt").write_text("word3")
    elif spoil in ("digest", "files"):
        manifest = made.path / "artifact.json"
        other = {"digest": "0" * 20, "files": []}[spoil]
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {spoil: other}))
    else:
        (made.path / "artifact.json").write_text("{")
    assert store.find(made.stage, made.key)[1]
    again, built = build(store, toy.w.words, toy.w.WordsConfig(), {})
    assert built
    assert again.digest == made.digest
    assert (again.path / "words.txt").read_text() == "word0\nword1\nword2"


def test_a_copied_store_is_still_a_hit_though_times_differ(store: Store, toy: ModuleType) -> None:
    made, _ = build(store, toy.w.words, toy.w.WordsConfig(), {})
    os.utime(made.path / "words.txt", (1, 1))
    assert build(store, toy.w.words, toy.w.WordsConfig(), {})[1] is False


def test_what_a_desktop_leaves_in_the_store_is_no_damage(store: Store, toy: ModuleType) -> None:
    made, _ = build(store, toy.w.words, toy.w.WordsConfig(), {})
    (made.path / ".thumbnails").mkdir()
    for name in (".DS_Store", ".thumbnails/words.png"):
        (made.path / name).write_text("left")
    assert store.find(made.stage, made.key) == (made, None)


def test_an_artifact_that_goes_while_it_is_looked_at_is_absent(
    store: Store, toy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = build(store, toy.w.words, toy.w.WordsConfig(), {})

    def collected(folder: Path) -> list[Path]:
        there = files_below(folder)
        shutil.rmtree(folder)
        return there

    monkeypatch.setattr("tasks.artifact.files_below", collected)
    assert store.find(made.stage, made.key) == (None, None)


def test_the_key_follows_the_inputs_content_not_how_it_came_about(store: Store, toy: ModuleType) -> None:
    made, _ = build(store, toy.w.words, toy.w.WordsConfig(), {})
    (toy.folder / f"toy_helper_{toy.tag}.py").write_text('def word(i):\n    return f"word{i}"\n')
    same_content, rebuilt = build(store, toy.w.words, toy.w.WordsConfig(), {})
    assert rebuilt
    assert same_content.key != made.key
    assert same_content.digest == made.digest
    keys = {toy.s.upper.recipe(toy.s.UpperConfig(), {"words": a}).inputs["words"] for a in (made, same_content)}
    assert len(keys) == 1


def test_bad_records_are_set_aside_with_their_reason_and_counted(store: Store) -> None:
    made, _ = build(store, spoiled, Nothing(), {})
    rows = [json.loads(line) for line in (made.path / "quarantine.jsonl").read_text().splitlines()]
    assert made.metrics["quarantined"] == 2
    assert rows[1] == {"id": "r2", "reason": "not valid JSON", "file": "a.jsonl", "offset": 40}


def test_an_error_names_its_stage_and_publishes_nothing(store: Store) -> None:
    with pytest.raises(StageError, match=r"^refusing: steps: 5 is odd"):
        build(store, refusing, Nothing(), {})
    assert list(store.artifacts()) == []


@pytest.mark.parametrize("way", ["plain", "numpy", "torch", "arrow"])
def test_a_full_disk_is_said_clearly_and_nothing_is_half_published(store: Store, way: str) -> None:
    with pytest.raises(StageError, match=r"^filling: the disk is full.*nothing was published.*gc"):
        build(store, filling, Filling(way=way), {})
    assert list(store.artifacts()) == []


def test_a_full_disk_is_said_clearly_also_before_the_stage_begins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a.lock")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StageError, match=r"^counting: the disk is full \(a.lock\)"):
        build(store, counting, Nothing(), {})
    assert not list((store.home / "work" / "counting").iterdir())


def _build_counting(home: Path, die_at: int) -> None:
    os.environ["DIE_AT"] = str(die_at)
    build(Store(home), counting, Nothing(), {})


@stage()
def patient(cfg: Nothing, out: Output) -> Metrics:
    """Be at it until somebody else waits for the same key, as `waited` says."""
    gate = Path(os.environ["WAITED"])
    for _ in range(600):
        if gate.exists():
            return {}
        time.sleep(0.1)
    raise TimeoutError(gate)


class Waited(logging.Handler):
    """Makes the gate's file when a builder says that it waits."""

    def emit(self, record: logging.LogRecord) -> None:
        if "waiting" in record.getMessage():
            Path(os.environ["WAITED"]).touch()


def _build_patient(home: Path, built: multiprocessing.Queue[bool]) -> None:
    os.environ["WAITED"] = str(home / "waited")
    logging.getLogger("fullchain.patient").addHandler(Waited())
    built.put(build(Store(home), patient, Nothing(), {})[1])


def _in_process(home: Path, die_at: int = -1) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=_build_counting, args=(home, die_at))
    process.start()
    return process


def test_killed_at_every_step_it_goes_on_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    undisturbed, _ = build(Store(tmp_path / "other"), counting, Nothing(), {})
    for step in (0, 2, 4):
        process = _in_process(store.home, step)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert list(store.artifacts()) == []
    made, built = build(store, counting, Nothing(), {})
    assert built
    assert made.digest == undisturbed.digest
    assert (made.logs / "resumed.txt").read_text() == "4"


def test_of_two_runs_at_once_one_builds_and_the_other_waits_and_takes_it(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    built = context.Queue()
    processes = [context.Process(target=_build_patient, args=(store.home, built)) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted(built.get(timeout=120) for _ in processes) == [False, True]
    for process in processes:
        process.join(60)
    assert len(list(store.artifacts("patient"))) == 1
    assert not list((store.home / "work" / "patient").iterdir())


def test_without_git_a_stage_is_built_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import build as module

    module._facts.cache_clear()
    monkeypatch.setenv("PATH", "")
    made, _ = build(store, counting, Nothing(), {})
    assert made.provenance["commit"] == ""
    module._facts.cache_clear()


def test_what_was_typed_is_kept_without_its_secrets(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import build as module

    module._facts.cache_clear()
    source = 'corpus.sources=["https://ada:s3cret@host/a.jsonl?token=s3cret#sha256=ab"]'
    monkeypatch.setattr("sys.argv", ["/somewhere/fullchain", "run", "--set", source])
    made, _ = build(store, counting, Nothing(), {})
    kept = 'corpus.sources=["https://host/a.jsonl#sha256=ab"]'
    assert made.provenance["argv"] == ["fullchain", "run", "--set", kept]
    module._facts.cache_clear()
