"""What would ruin a run is refused before its first step, with the file or field and the mend."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.errors import StageError
from tasks.pretrain import PretrainConfig, pretrain
from tasks.tokenizer import TokenizerConfig, tokenizer
from tests.stages import attempt, corpus
from tests.tasks.pretrain.test_pretrain import SMALL, inputs  # noqa: F401 (a fixture)


@pytest.fixture
def damaged(tmp_path, inputs):  # noqa: F811
    """Inputs whose token streams a test may damage."""
    copy = shutil.copytree(inputs["tokens"], tmp_path / "tokens")
    return inputs | {"tokens": copy}


def refused(tmp_path, given, words, **settings):
    with pytest.raises(StageError, match=words):
        attempt(pretrain, PretrainConfig(**SMALL | settings), tmp_path / "run", **given)
    assert not list((tmp_path / "run").rglob("step-*"))


def test_a_token_that_the_tokenizer_does_not_have(tmp_path, damaged):
    path = damaged["tokens"] / "train.bin"
    kind = json.loads((damaged["tokens"] / "meta.json").read_text())["dtype"]
    ids = np.fromfile(path, dtype=kind)
    ids[17] = 360
    ids.tofile(path)
    refused(tmp_path, damaged, r"train\.bin has id 360 at token 17; expected ids below 360.*run the tokens stage again")


def test_a_stream_that_was_cut_short(tmp_path, damaged):
    path = damaged["tokens"] / "validation.bin"
    path.write_bytes(path.read_bytes()[:-3])
    refused(tmp_path, damaged, r"validation\.bin has \d+ bytes; expected \d+ .*--force tokens")


def test_another_tokenizer_of_the_same_size(tmp_path, inputs):  # noqa: F811
    texts = corpus(tmp_path / "corpus", poems=30)
    other, _ = attempt(tokenizer, TokenizerConfig(vocab_size=360, chat_weight=1), tmp_path / "other", corpus=texts)
    refused(tmp_path, inputs | {"tokenizer": other}, "tokenizer.json is not the one that the corpus was encoded with")


def test_another_tokenizer_of_another_size(tmp_path, inputs):  # noqa: F811
    texts = corpus(tmp_path / "corpus", poems=30)
    other, _ = attempt(tokenizer, TokenizerConfig(vocab_size=340, chat_weight=1), tmp_path / "other", corpus=texts)
    refused(tmp_path, inputs | {"tokenizer": other}, "it has 340 entries, the corpus was encoded with one of 360")


def test_sequences_longer_than_the_network_reads(tmp_path, damaged):
    meta = damaged["tokens"] / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"seq_len": 64}))
    refused(tmp_path, damaged, r"pretrain\.context: the network reads 32 tokens; expected at least.*64", context=32)


def test_an_architecture_that_nobody_knows(tmp_path, inputs):  # noqa: F811
    refused(tmp_path, inputs, r"pretrain\.architecture: 'nosuch' cannot be built", architecture="nosuch")


@pytest.mark.parametrize("where", ["network.build", "checks.check_isolation"])
def test_want_of_memory_is_no_fault_of_the_architecture(tmp_path, inputs, monkeypatch, where):  # noqa: F811
    monkeypatch.setattr(f"tasks.pretrain.{where}", lambda *_: torch.empty(1 << 50))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        attempt(pretrain, PretrainConfig(**SMALL), tmp_path, **inputs)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda text: text[:-9], "meta.json: it: Invalid JSON"),
        (lambda text: text.replace("seq_len", "length"), "meta.json: seq_len: Field required"),
        (lambda text: text.replace('"validation"', '"valid"'), "meta.json: splits.validation: Field required"),
        (lambda text: text.replace("<u2", "words"), "dtype in meta.json is words; expected integers"),
    ],
)
def test_a_description_that_is_broken(tmp_path, damaged, broken, words):
    meta = damaged["tokens"] / "meta.json"
    meta.write_text(broken(meta.read_text()))
    refused(tmp_path, damaged, f"tokens: {re.escape(words)}.*--force tokens")
    meta.unlink()
    refused(tmp_path, damaged, r"tokens: meta\.json cannot be read: .*--force tokens")


def test_a_stream_of_floats(tmp_path, damaged):
    meta = json.loads((damaged["tokens"] / "meta.json").read_text())
    (damaged["tokens"] / "meta.json").write_text(json.dumps(meta | {"dtype": "<f4"}))
    for split, counts in meta["splits"].items():
        np.full(counts["tokens"], np.nan, "<f4").tofile(damaged["tokens"] / f"{split}.bin")
    refused(tmp_path, damaged, r"dtype in meta\.json is <f4; expected integers.*--force tokens")


def test_a_negative_id(tmp_path, damaged):
    meta = json.loads((damaged["tokens"] / "meta.json").read_text())
    (damaged["tokens"] / "meta.json").write_text(json.dumps(meta | {"dtype": "<i2"}))
    path = damaged["tokens"] / "train.bin"
    ids = np.fromfile(path, dtype="<i2")
    ids[5] = -1
    ids.tofile(path)
    refused(tmp_path, damaged, r"train\.bin has id -1 at token 5; expected ids below 360")


@pytest.mark.parametrize("name", ["validation.bin", "train.bin"])
def test_a_stream_that_is_not_there(tmp_path, damaged, name):
    (damaged["tokens"] / name).unlink()
    refused(tmp_path, damaged, rf"{name} has 0 bytes; expected \d+ .*--force tokens")


def test_a_document_index_cut_short_or_missing(tmp_path, damaged):
    path = damaged["tokens"] / "validation.documents.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    refused(tmp_path, damaged, r"validation\.documents\.parquet cannot be read: .*--force tokens")
    path.unlink()
    refused(tmp_path, damaged, r"validation\.documents\.parquet cannot be read: .*--force tokens")


def test_no_validation_documents(tmp_path, damaged):
    path = damaged["tokens"] / "validation.documents.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    refused(tmp_path, damaged, r"lists 0 documents .*expected at least one.*give corpus more documents")


@pytest.mark.parametrize("kind", ["mamba", "deepseek_v3", "bloom"])
def test_an_architecture_that_does_not_keep_packed_rows_apart(tmp_path, inputs, kind):  # noqa: F811
    refused(tmp_path, inputs, rf"pretrain\.architecture: .*{kind}.*such as internlm3, llama", architecture=kind)


def test_a_model_whose_weights_are_no_numbers(tmp_path, inputs):  # noqa: F811
    made, _ = attempt(pretrain, PretrainConfig(**SMALL | {"tokens": 0}), tmp_path / "made", **inputs)
    path = made / "model" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, path, {"format": "pt"})
    refused(tmp_path, inputs, r"pretrain\.init_from: model\.norm\.weight has values", init_from=str(made / "model"))
