"""The tokenizer stage: what it writes can be read, says every text back, and is the same each time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tasks.chat import SPECIAL_TOKENS
from tasks.files import tree_digest
from tasks.stage import StageError
from tasks.tokenizer import TokenizerConfig, tokenizer
from tasks.tokenizer.bpe import hugging_face, train_bpe
from tests.stages import artifact, attempt, corpus

CONFIG = TokenizerConfig(vocab_size=420, chat_weight=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    path, metrics = attempt(tokenizer, CONFIG, folder / "a", corpus=corpus(folder / "corpus"))
    return folder, path, metrics


def test_nothing_is_lost_in_the_round_trip(made):
    _, path, metrics = made
    assert metrics["round_trip_failures"] == 0 and metrics["round_trip_documents"] > 100
    assert len(AutoTokenizer.from_pretrained(path)) == metrics["vocab_size"] == 420


def test_the_same_corpus_gives_the_same_bytes(made):
    folder, path, _ = made
    again, _ = attempt(tokenizer, CONFIG, folder / "b", corpus=folder / "corpus")
    assert tree_digest(again) == tree_digest(path)


def test_special_tokens_are_atomic_and_the_first_ids(made):
    read = AutoTokenizer.from_pretrained(made[1])
    assert [read.encode(token, add_special_tokens=False) for token in SPECIAL_TOKENS] == [
        [number] for number in range(len(SPECIAL_TOKENS))
    ]
    assert (read.bos_token, read.eos_token, read.pad_token) == ("<|endoftext|>", "<|im_end|>", "<|pad|>")


def test_tool_calls_stay_in_sight_when_special_tokens_are_skipped(made):
    read = AutoTokenizer.from_pretrained(made[1])
    ids = read.encode('<tool_call>{"name": 1}</tool_call><|im_end|>', add_special_tokens=False)
    assert read.decode(ids, skip_special_tokens=True) == '<tool_call>{"name": 1}</tool_call>'


def test_a_chinese_character_never_shares_a_token(made):
    read = AutoTokenizer.from_pretrained(made[1])
    tokens = read.encode("春江春江春江", add_special_tokens=False)
    assert [read.decode([token]) for token in tokens] == list("春江春江春江")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back(text):
    bpe = _any_tokenizer()
    plain = text
    for token in SPECIAL_TOKENS:
        plain = plain.replace(token, "")
    assert bpe.decode(bpe.encode(plain, add_special_tokens=False), skip_special_tokens=False) == plain


def test_a_corpus_without_its_split_is_said(tmp_path):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(StageError, match="no train/"):
        attempt(tokenizer, CONFIG, tmp_path / "a", corpus=artifact(tmp_path / "corpus").path)


def _any_tokenizer(cache=[]):  # noqa: B006 (made once)
    if not cache:
        cache.append(hugging_face(train_bpe(["春江月 and words"], 300)))
    return cache[0]
