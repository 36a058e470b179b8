"""`fullchain size`: what it prints, and what it refuses."""

import json
import subprocess
import sys

import pytest

from flows.config import load, presets
from flows.size import size, size_table
from flows.terminal import console
from tasks.errors import StageError
from tests.command import PROJECT, Fullchain


@pytest.mark.parametrize(("preset", "gpus"), [("8xgpu-1b8", 8), ("cluster-8b", 8), ("cluster-8b", 1024), ("poet", 8)])
def test_presets_are_sized_with_a_mesh_that_fits(preset, gpus):
    found = size(load(preset), gpus, "A100-80G", "4x100Gb", top=3)
    best = found["recommended"]
    mesh = best["mesh"]
    assert mesh["replicate"] * mesh["shard"] * mesh["context"] * mesh["tensor"] == gpus
    assert best["fits"] and best["memory_gb"]["total"] < 80
    assert 0 < best["mfu"] < 0.7
    assert all(best["step_seconds"] <= other["step_seconds"] for other in found["alternatives"])
    assert json.loads(json.dumps(found)) == found


def test_the_recommended_settings_make_the_preset_run_so():
    found = size(load("cluster-8b"), 1024, "A100-80G", "4x100Gb", top=1)
    again = load("cluster-8b", tuple(found["recommended"]["settings"]))
    assert again.pretrain.parallel.world == 1024
    configured = size(again, 1024, "A100-80G", "4x100Gb", top=1)["configured"]
    assert configured["step_seconds"] == pytest.approx(found["recommended"]["step_seconds"])
    assert configured["mesh"] == found["recommended"]["mesh"]


def test_the_production_presets_run_on_the_meshes_they_name():
    for preset in ("8xgpu-1b8", "cluster-8b"):
        cfg = load(preset)
        configured = size(cfg, cfg.pretrain.parallel.world, "A100-80G", "4x100Gb", top=1)["configured"]
        assert configured is not None and configured["fits"], preset
    assert {"8xgpu-1b8", "cluster-8b"} <= set(presets())


def test_the_table_says_what_to_take():
    found = size(load("8xgpu-1b8"), 8, "H100-80G", "8x400Gb", top=2)
    with console.capture() as captured:
        console.print(size_table(found))
    assert "recommended" in captured.get() and "--set pretrain.parallel.shard=" in captured.get()


@pytest.mark.parametrize(
    ("preset", "arguments", "words"),
    [
        ("poet", (8, "A1000", "4x100Gb"), "unknown GPU 'A1000'; expected one of A100-40G"),
        ("poet", (8, "A100-80G", "fast"), "network 'fast'; expected ports x gigabits"),
        ("smollm2", (8, "A100-80G", "4x100Gb"), "pretrain.init_from"),
        ("poet", (4096, "A100-80G", "4x100Gb"), "16 sequences per step"),
        ("cluster-8b", (1, "A100-40G", "4x100Gb"), "GB per rank of"),
    ],
)
def test_what_cannot_be_sized_is_told_in_words(preset, arguments, words):
    with pytest.raises(StageError) as caught:
        size(load(preset), *arguments, top=1)
    assert words in str(caught.value)


def test_the_command_prints_json_and_ends_well_without_torch(tmp_path):
    probe = (
        "import sys; from flows.cli import app\n"
        "try: app(['size', '8xgpu-1b8', '--gpus', '16', '--json'])\n"
        "except SystemExit as end: assert not end.code, end\n"
        "assert not {'torch', 'prefect', 'mlflow', 'ray'} & sys.modules.keys()"
    )
    fullchain = Fullchain(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", probe], env=fullchain.environment, cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cluster"]["gpus"] == 16
