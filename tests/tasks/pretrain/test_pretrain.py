"""The pretrain stage: a model that others can read, data by step, and a kill that leaves no trace."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.files import tree_digest
from tasks.pretrain import PretrainConfig, pretrain
from tasks.pretrain.data import Stream, positions
from tasks.tokenizer import TokenizerConfig, tokenizer
from tasks.tokens import TokensConfig, tokens
from tests.stages import attempt, corpus

SMALL = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate_size": 48, "context": 128}
SMALL |= {
    "tokens": 6000,
    "micro_batch": 4,
    "accumulation": 2,
    "compile": "never",
    "log_every": 1,
    "validation_tokens": 500,
}
CONFIG = PretrainConfig(**SMALL, checkpoint_every=4)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    made = {"corpus": corpus(folder / "corpus", poems=60)}
    made["tokenizer"], _ = attempt(tokenizer, TokenizerConfig(vocab_size=360, chat_weight=1), folder / "t", **made)
    packed, _ = attempt(tokens, TokensConfig(seq_len=32, share=1.0), folder / "p", **made)
    return {"tokens": packed, "tokenizer": made["tokenizer"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory, inputs):
    return attempt(pretrain, CONFIG, tmp_path_factory.mktemp("whole"), **inputs)


def test_the_model_is_a_plain_hugging_face_directory(made):
    path, metrics = made
    model = AutoModelForCausalLM.from_pretrained(path / "model", dtype=torch.float32)
    assert model.config.model_type == "internlm3"
    assert sum(parameter.numel() for parameter in model.parameters()) == metrics["parameters"]
    assert AutoTokenizer.from_pretrained(path / "model").chat_template
    assert not [file for file in path.rglob("*") if file.suffix in {".bin", ".pt", ".pkl", ".ckpt"}]


def test_it_learned_and_says_so(made):
    path, metrics = made
    curve = [json.loads(line) for line in (path / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == list(range(1, metrics["steps"] + 1))
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["bits_per_byte"] == metrics["bits_per_byte"] > 0
    assert not any("time" in name or "second" in name for name in curve[0])


def test_killed_and_resumed_is_byte_for_byte_the_uninterrupted_run(tmp_path, inputs, made):
    program = (
        "import sys; from pathlib import Path; from tests.stages import attempt\n"
        "from tasks.pretrain import pretrain, PretrainConfig\n"
        "root, tokens, tokenizer, config = sys.argv[1:]\n"
        "attempt(pretrain, PretrainConfig.model_validate_json(config), Path(root),"
        " tokens=Path(tokens), tokenizer=Path(tokenizer))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(inputs["tokens"]), str(inputs["tokenizer"])]
    process = subprocess.Popen([*command, CONFIG.model_dump_json()], cwd=Path(__file__).parents[3])
    while not (tmp_path / "state" / "checkpoints" / "step-000000008").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "summary.json").exists()
    path, _ = attempt(pretrain, CONFIG, tmp_path, **inputs)
    assert tree_digest(path / "model") == tree_digest(made[0] / "model")
    assert (path / "curve.jsonl").read_bytes() == (made[0] / "curve.jsonl").read_bytes()


def test_no_steps_keep_the_initial_weights_and_still_measure_them(tmp_path, inputs):
    path, metrics = attempt(pretrain, PretrainConfig(**SMALL | {"tokens": 0}), tmp_path, **inputs)
    assert metrics["steps"] == 0 and metrics["bits_per_byte"] > 0
    assert (path / "model" / "model.safetensors").exists()


def test_samples_are_written_at_every_validation(tmp_path, inputs):
    cfg = PretrainConfig(**SMALL | {"tokens": 1500, "validate_every": 3, "samples": 3})
    path, metrics = attempt(pretrain, cfg, tmp_path, **inputs)
    told = [json.loads(line) for line in (path / "logs" / "samples.jsonl").read_text().splitlines()]
    assert [line["step"] for line in told] == [3, metrics["steps"]]
    assert all(len(line["texts"]) == 3 and all(line["texts"]) for line in told)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_activations_computed_again_change_nothing(tmp_path, inputs):
    settings = SMALL | {"tokens": 1500, "threads": 1}
    kept, again = (
        attempt(pretrain, PretrainConfig(**settings, activation_checkpointing=on), tmp_path / str(on), **inputs)[0]
        for on in (False, True)
    )
    assert tree_digest(kept / "model" / "model.safetensors") == tree_digest(again / "model" / "model.safetensors")


def test_an_architecture_that_takes_no_size_of_heads_trains(tmp_path, inputs, caplog):
    path, _ = attempt(pretrain, PretrainConfig(**SMALL | {"tokens": 1500}, architecture="falcon"), tmp_path, **inputs)
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    curve = [json.loads(line) for line in (path / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert AutoModelForCausalLM.from_pretrained(path / "model").config.model_type == "falcon"


def test_training_goes_on_from_a_given_model(tmp_path, inputs, made):
    settings = SMALL | {"tokens": 1500, "hidden_size": 64}  # the shape is the given model's
    path, metrics = attempt(pretrain, PretrainConfig(**settings, init_from=str(made[0] / "model")), tmp_path, **inputs)
    curve = [json.loads(line) for line in (path / "curve.jsonl").read_text().splitlines()]
    first = json.loads((made[0] / "curve.jsonl").read_text().splitlines()[0])
    assert curve[0]["loss"] < first["loss"] - 0.5
    assert metrics["parameters"] == made[1]["parameters"]


def test_every_window_is_seen_once_per_epoch(inputs):
    stream = Stream(inputs["tokens"], "train", separator=0)
    windows = (len(stream.tokens) - 1) // 32
    data = stream.training(micro_batch=1, accumulation=1, seed=3)
    epoch = [data(step)[0].input_ids[0].tolist() for step in range(windows)]
    assert sorted(epoch) == sorted(stream.tokens[i * 32 : (i + 1) * 32].tolist() for i in range(windows))
    again = stream.training(micro_batch=1, accumulation=1, seed=3)
    assert again(windows - 1)[0].input_ids[0].tolist() == epoch[-1]
    assert [data(windows + step)[0].input_ids[0].tolist() for step in range(windows)] != epoch


def test_positions_restart_at_each_separator():
    ids = np.array([[5, 6, 0, 7, 8, 0, 9], [0, 1, 1, 1, 0, 0, 1]])
    assert positions(ids, separator=0).tolist() == [[0, 1, 0, 1, 2, 0, 1], [0, 1, 2, 3, 0, 0, 1]]


def test_validation_covers_whole_documents_and_their_bytes(inputs):
    stream = Stream(inputs["tokens"], "validation", separator=0)
    batches, size = stream.validation(limit=10**9, micro_batch=3)
    counts = stream.meta.splits.validation
    assert size == counts.bytes
    assert sum(int((batch.labels >= 0).sum()) for batch in batches) == counts.tokens - 1


def test_sizes_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValidationError, match="hidden_size 30 must be divisible by heads 4"):
        PretrainConfig(hidden_size=30, heads=4)
    with pytest.raises(ValidationError, match="layers"):
        PretrainConfig(layers=0)
