"""The pretrain stage on several processes: started by torchrun or by Ray, one result, and refusals before any start."""

import json

import pytest
from safetensors.torch import load_file

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


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    made = {"corpus": corpus(folder / "corpus", poems=60)}
    made["tokenizer"], _ = attempt(tokenizer, TokenizerConfig(vocab_size=360, chat_weight=1), folder / "t", **made)
    packed, _ = attempt(tokens, TokensConfig(seq_len=32, share=1.0), folder / "p", **made)
    return {"tokens": packed, "tokenizer": made["tokenizer"]}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, inputs):
    return attempt(pretrain, PretrainConfig(**SMALL), tmp_path_factory.mktemp("alone"), **inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh",
    [
        {"processes": 2, "shard": 2},
        {"processes": 2, "tensor": 2},
        {"nodes": 2, "processes": 1, "replicate": 2},  # by Ray Train
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


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        ({"processes": 2}, "= 1; expected the number of processes, 2"),
        ({"processes": 3, "shard": 3}, "expected a divisor of the sequences per step"),
        ({"processes": 4, "tensor": 4}, "tensor = 4; expected a divisor of heads, 2"),
    ],
)
def test_an_impossible_mesh_is_refused_before_any_process_starts(tmp_path, inputs, mesh, words):
    with pytest.raises(StageError, match=r"pretrain\.parallel") as caught:
        attempt(pretrain, PretrainConfig(**SMALL, parallel=mesh), tmp_path, **inputs)
    assert words in str(caught.value)
    assert not list(tmp_path.rglob("spec.json"))
