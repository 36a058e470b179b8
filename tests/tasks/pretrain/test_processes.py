"""The pretrain stage on several processes: started by torchrun or by Ray, one result, and refusals before any start."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from models.checkpoints import steps
from tasks.errors import StageError
from tasks.pretrain import PretrainConfig, pretrain
from tasks.tokenizer import TokenizerConfig, tokenizer
from tasks.tokens import TokensConfig, tokens
from tests.stages import attempt, corpus

SMALL = {
    "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 48, "context": 128, "tokens": 1500,
    "micro_batch": 4, "accumulation": 2, "compile": "never", "log_every": 1, "validation_tokens": 500,
    "precision": "fp32",
}  # fmt: skip
RAY = pytest.mark.skipif(" " in sys.executable, reason="Ray starts no workers below a path with a blank")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    made = {"corpus": corpus(folder / "corpus", poems=60)}
    made["tokenizer"], _ = attempt(tokenizer, TokenizerConfig(vocab_size=360, chat_weight=1), folder / "t", **made)
    packed, _ = attempt(tokens, TokensConfig(seq_len=32, share=1.0), folder / "p", **made)
    return {"tokens": packed, "tokenizer": made["tokenizer"]}


LONGER = SMALL | {"tokens": 9000, "checkpoint_every": 1}
TWO = {"processes": 2, "shard": 2}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, inputs):
    return attempt(pretrain, PretrainConfig(**SMALL), tmp_path_factory.mktemp("alone"), **inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh",
    [
        {"processes": 2, "shard": 2},
        {"processes": 2, "tensor": 2},
        pytest.param({"nodes": 2, "processes": 1, "replicate": 2}, marks=RAY),  # by Ray Train
    ],
)
def test_the_model_and_the_curve_are_those_of_one_process(tmp_path, inputs, alone, mesh):
    path, metrics = attempt(pretrain, PretrainConfig(**SMALL, parallel=mesh), tmp_path, **inputs)
    expected_path, expected = alone
    assert metrics == pytest.approx(expected, rel=1e-4)
    curves = [
        [json.loads(line) for line in (p / "curve.jsonl").read_text().splitlines()] for p in (path, expected_path)
    ]
    for ours, theirs in zip(*curves, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    found, wanted = (load_file(p / "model" / "model.safetensors") for p in (path, expected_path))
    assert found.keys() == wanted.keys()
    assert all((found[name] - wanted[name]).abs().max() < 2e-2 for name in wanted)
    assert {file.name for file in (path / "model").iterdir()} == {
        file.name for file in (expected_path / "model").iterdir()
    }


def test_ray_is_refused_below_a_path_with_a_blank(tmp_path, inputs, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/a folder/bin/python")
    mesh = {"nodes": 2, "processes": 1, "replicate": 2}
    with pytest.raises(StageError, match="a path with a blank: /a folder/bin/python"):
        attempt(pretrain, PretrainConfig(**SMALL, parallel=mesh), tmp_path, **inputs)


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        ({"processes": 2}, "= 1; expected the number of processes, 2"),
        ({"shard": 8}, "= 8; expected the number of processes, 1"),
        ({"parameter_shard": 2}, "parameter_shard = 2; expected a divisor of shard x context = 1"),
        ({"processes": 3, "shard": 3}, "expected a divisor of the sequences per step"),
        ({"processes": 4, "tensor": 4}, "tensor = 4; expected a divisor of heads, 2"),
        ({"nodes": 2, "processes": 1, "tensor": 2}, "tensor = 2; expected a divisor of the processes per machine, 1"),
    ],
)
def test_an_impossible_mesh_is_refused_before_any_process_starts(tmp_path, inputs, mesh, words):
    with pytest.raises(StageError, match=r"pretrain\.parallel") as caught:
        attempt(pretrain, PretrainConfig(**SMALL, parallel=mesh), tmp_path, **inputs)
    assert words in str(caught.value)
    assert not list(tmp_path.rglob("spec.json"))


@pytest.mark.parametrize(
    ("mesh", "more", "words"),
    [
        ({"tensor": 2}, {"compile": "always"}, "compile: always, but with parallel.tensor 2 x parallel.context 1"),
        ({"context": 2}, {"compile": "always"}, "expected auto or never; or set both to 1"),
        ({"tensor": 2}, {"precision": "fp8"}, "precision: fp8, but parallel.tensor 2 splits the matrices"),
    ],
)
def test_what_split_matrices_cannot_do_is_refused_before_any_process_starts(tmp_path, inputs, mesh, more, words):
    with pytest.raises(StageError) as caught:
        attempt(pretrain, PretrainConfig(**SMALL | more, parallel={"processes": 2} | mesh), tmp_path, **inputs)
    assert words in str(caught.value)
    assert not list(tmp_path.rglob("spec.json"))


@pytest.mark.parametrize(
    ("kind", "mesh", "words"),
    [
        ("mistral", {"context": 2}, "the attention of mistral has sliding_window; expected a plain causal one"),
        ("gemma2", {"tensor": 2}, "the attention of gemma2 has sliding_window, attn_logit_softcapping"),
        ("gpt_oss", {"context": 2}, "sinks"),
        ("opt", {"tensor": 2}, "has no tensor-parallel plan"),
        ("gpt2", {"context": 2}, "no o_proj"),
        ("falcon", {"context": 2}, "the attention of falcon has an attention of its own"),
    ],
)
def test_what_a_mesh_would_drop_is_refused_before_any_process_starts(tmp_path, inputs, kind, mesh, words):
    cfg = PretrainConfig(**SMALL, architecture=kind, parallel={"processes": 2} | mesh)
    with pytest.raises(StageError, match=r"pretrain\.parallel") as caught:
        attempt(pretrain, cfg, tmp_path, **inputs)
    assert words in str(caught.value)
    assert not list(tmp_path.rglob("spec.json"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"precision": "fp8"}, "precision: fp8 needs a GPU of compute capability 8.9 or more"),
        ({"attention": "flash"}, "attention: flash: it needs CUDA, the device is cpu; expected auto"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may well do it")
def test_what_a_cpu_cannot_do_is_refused(tmp_path, inputs, more, words):
    with pytest.raises(StageError) as caught:
        attempt(pretrain, PretrainConfig(**SMALL | more), tmp_path, **inputs)
    assert words in str(caught.value)


def test_the_mesh_must_fit_the_model_that_is_given(tmp_path, inputs, alone):
    cfg = PretrainConfig(
        **SMALL | {"heads": 4, "kv_heads": 4}, init_from=str(alone[0] / "model"),
        parallel={"processes": 4, "tensor": 4},
    )  # fmt: skip
    with pytest.raises(StageError, match="tensor = 4; expected a divisor of heads, 2"):
        attempt(pretrain, cfg, tmp_path, **inputs)


@pytest.mark.slow
def test_what_the_first_process_finds_wrong_with_a_network_ends_all(tmp_path, inputs):
    with pytest.raises(StageError, match=r"pretrain\.architecture: bloom: .*such as internlm3, llama"):
        attempt(pretrain, PretrainConfig(**SMALL, architecture="bloom", parallel=TWO), tmp_path, **inputs)
    assert "restart" not in (tmp_path / "out" / "logs" / "processes.log").read_text()


@pytest.mark.slow
def test_a_given_model_is_read_by_the_first_process_alone(tmp_path, inputs, alone):
    settings = SMALL | {"init_from": str(alone[0] / "model")}
    _, metrics = attempt(pretrain, PretrainConfig(**settings, parallel=TWO), tmp_path / "two", **inputs)
    _, expected = attempt(pretrain, PretrainConfig(**settings), tmp_path / "one", **inputs)
    assert metrics == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_in_bf16_a_sharded_run_validates_samples_and_ends_as_one_process_does(tmp_path, inputs):
    settings = SMALL | {"precision": "bf16", "validate_every": 3}
    path, metrics = attempt(pretrain, PretrainConfig(**settings, parallel=TWO), tmp_path / "two", **inputs)
    _, expected = attempt(pretrain, PretrainConfig(**settings), tmp_path / "one", **inputs)
    assert metrics["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-2)
    assert len((path / "logs" / "samples.jsonl").read_text().splitlines()) == 2
    assert not list((tmp_path / "two").rglob("rank-*"))


ATTEMPT = """
import json, sys
from pathlib import Path
from tasks.pretrain import PretrainConfig, pretrain
from tests.stages import attempt
cfg, root, inputs = map(json.loads, sys.argv[1:])
attempt(pretrain, PretrainConfig(**cfg), Path(root), **{name: Path(path) for name, path in inputs.items()})
"""


def start(cfg, root, inputs):
    """An attempt in a process of its own, far enough for two checkpoints of its trained steps."""
    arguments = [cfg, str(root), {name: str(path) for name, path in inputs.items()}]
    child = subprocess.Popen([sys.executable, "-c", ATTEMPT, *map(json.dumps, arguments)], env=os.environ | QUIET)
    while max(steps(root / "state" / "checkpoints"), default=0) < 2:
        assert child.poll() is None, "it ended too early"
        time.sleep(0.02)
    return child


QUIET = {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}


def workers(child):
    """The training processes below an attempt."""
    below = [(process, process.cmdline()) for process in psutil.Process(child.pid).children(recursive=True)]
    return [process for process, words in below if "tasks.cluster" in words and "--nproc-per-node" not in words]


@pytest.fixture(scope="module")
def longer_alone(tmp_path_factory, inputs):
    return attempt(pretrain, PretrainConfig(**LONGER), tmp_path_factory.mktemp("longer"), **inputs)


@pytest.mark.slow
def test_a_process_killed_in_the_middle_is_started_again_and_the_run_ends_the_same(tmp_path, inputs, longer_alone):
    child = start(LONGER | {"parallel": TWO}, tmp_path, inputs)
    workers(child)[1].send_signal(signal.SIGKILL)
    assert child.wait(300) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["validation_loss"] == pytest.approx(
        longer_alone[1]["validation_loss"], rel=1e-3
    )


@pytest.mark.slow
def test_sigterm_saves_on_all_processes_and_one_process_goes_on_from_there(tmp_path, inputs, longer_alone):
    child = start(LONGER | {"parallel": TWO}, tmp_path, inputs)
    theirs = workers(child)
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 128 + signal.SIGTERM
    assert not any(process.is_running() for process in theirs)
    reached = steps(tmp_path / "state" / "checkpoints")[-1]
    assert 2 <= reached < longer_alone[1]["steps"]
    events = [json.loads(line) for line in (tmp_path / "out" / "logs" / "events.jsonl").read_text().splitlines()]
    assert f"SIGTERM at step {reached} of" in events[-1]["text"]
    _, metrics = attempt(pretrain, PretrainConfig(**LONGER), tmp_path, **inputs)
    assert metrics["validation_loss"] == pytest.approx(longer_alone[1]["validation_loss"], rel=1e-3)


@pytest.mark.slow
def test_checkpoints_may_lie_elsewhere_and_every_rank_reads_its_own_speed(tmp_path, inputs, alone):
    elsewhere = tmp_path / "elsewhere"
    cfg = PretrainConfig(**SMALL, parallel=TWO, checkpoints=str(elsewhere))
    path, metrics = attempt(pretrain, cfg, tmp_path / "key", **inputs)
    assert metrics == pytest.approx(alone[1], rel=1e-4)
    assert steps(elsewhere / "key")[-1] == metrics["steps"]
    readings = [json.loads(line)["ranks"] for line in (path / "logs" / "ranks.jsonl").read_text().splitlines()]
    assert readings and all(len(ranks) == 2 and min(rank["gemm_flops"] for rank in ranks) > 0 for ranks in readings)
