"""What would ruin a run is refused before its first step, with the file or field and the mend."""

import json
import shutil

import numpy as np
import pytest

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
