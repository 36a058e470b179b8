"""Block lists of addresses, and texts that hold evaluation items."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.contamination import grams, hits, index_of
from tasks.corpus.normalise import normalise
from tasks.corpus.urls import BlockList
from tasks.sources import SourceRef, open_source
from tasks.stage import StageError
from tasks.store import Store
from tests.tasks.corpus.test_corpus import made, table
from tests.tasks.corpus.test_text import chinese

ITEM = "Write a function that returns the sum of all even numbers in a list of integers, skipping negative ones."
TRADITIONAL = "請問這輛火車從臺北開往高雄需要４個小時，它在１２點出發，什麼時候會到達終點？"
CHINESE = "小明有十二个苹果，他把其中的三分之一分给了小红，请问小明最后还剩下多少个苹果？"


def test_words_of_a_source_count_as_those_of_the_lists(tmp_path: Path, store: Store) -> None:
    """The source is a zip of one list in traditional characters, with an everyday word that is too short."""
    (tmp_path / "words").mkdir()
    with zipfile.ZipFile(tmp_path / "words" / "list.zip", "w") as archive:
        archive.writestr("list.txt", "山水\n非法賭場廣告\ngetting\n")
    card = tmp_path / "card.yaml"
    card.write_text(
        "name: words\nuri: words\nparts: {all: {members: [list.zip], format: lines, kind: words, language: zh}}"
    )
    lines = [f"山水之间 getting。{chinese(n)}" for n in range(39)]
    bad = "欢迎光临本地非法赌场广告，天天都有非法赌场广告。"
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*lines, bad]))
    corpus = made(store, tmp_path / "texts.jsonl", safety_sources=[SourceRef(str(card))], max_repetition=1.0)
    assert {row["offset"] for row in table(corpus, "ledger") if row["reason"] == "safety"} == {39}


@pytest.mark.parametrize("field", ["evaluation_sets", "safety_sources"])
def test_a_source_without_a_record_to_look_for_is_refused(
    field: str, tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": chinese(n)}) + "\n" for n in range(40)))
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"text": ITEM}) + "\nbroken\n")
    made(store, tmp_path / "texts.jsonl", max_repetition=1.0, **{field: [SourceRef(str(own))]})
    assert f"{own}: 1 records could not be read" in caplog.text
    own.write_text("broken\n")
    with pytest.raises(StageError, match=rf"corpus\.{field}.*: {own}: none of its 1 records can be read"):
        made(store, tmp_path / "texts.jsonl", max_repetition=1.0, **{field: [SourceRef(str(own))]})


def test_short_texts_alone_are_no_evaluation_set_and_no_words(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": chinese(n)}) + "\n" for n in range(40)))
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "a"}\n{"text": "b"}\n')
    made(store, tmp_path / "texts.jsonl", max_repetition=1.0, evaluation_sets=[SourceRef(str(own))])
    assert f"finetune.sources, which the chain adds to them: {own}: no text of 8 words" in caplog.text
    with pytest.raises(StageError, match=rf"corpus\.safety_sources: {own}: nothing in it to look for; expected"):
        made(store, tmp_path / "texts.jsonl", max_repetition=1.0, safety_sources=[SourceRef(str(own))])


@pytest.fixture
def blocked(tmp_path: Path) -> BlockList:
    (tmp_path / "a.txt").write_text(
        "# a comment\nBad.example\nhttps://mixed.example/spam/ # a place\nxn--fiqs8s.example\n中国.test\nhttps://only.example\n"
        "page.example/x\nquery.example/?id=1\nhttps://root.example/\nunder_score.example\n"
    )
    return BlockList([tmp_path / "a.txt"])


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://bad.example/x", "bad.example"),
        ("http://www.sub.BAD.example:8080/x?y", "bad.example"),
        ("bad.example", "bad.example"),
        ("https://notbad.example/", ""),
        ("https://mixed.example/spam/1", "mixed.example/spam/"),
        ("https://mixed.example/ham", ""),
        ("https://中国.example/", "xn--fiqs8s.example"),
        ("https://good.example/bad.example", ""),
        ("https://中国.test/", "xn--fiqs8s.test"),
        ("https://www.xn--fiqs8s.test/", "xn--fiqs8s.test"),
        ("https://only.example/any", "only.example"),
        ("https://www.only.example/any", "only.example"),
        ("https://only.example.evil.test/", ""),
        ("https://root.example/any", "root.example"),
        ("https://page.example/x", "page.example/x"),
        ("https://PAGE.example./x/y", "page.example/x"),
        ("https://page.example/x?z", "page.example/x"),
        ("https://page.example/xylophone", ""),
        ("https://query.example/?id=1&b=2", "query.example/?id=1"),
        ("https://query.example/?id=12", ""),
        ("https://a..under_score.example/", "under_score.example"),
        (f"https://{'a' * 70}.bad.example/", "bad.example"),
        (f"https://{'é' * 70}.bad.example/", "bad.example"),
        ("not a url at all", ""),
        ("http://[broken", ""),
    ],
)
def test_a_listed_domain_covers_those_below_it(blocked: BlockList, url: str, found: str) -> None:
    assert blocked.found(url) == found


@given(st.text(max_size=60))
def test_no_address_crashes_the_list(url: str) -> None:
    assert BlockList([]).found(url) == ""


@pytest.fixture
def index(tmp_path: Path) -> np.ndarray:
    items = [{"prompt": ITEM, "choices": ["yes", "no"]}, {"turns": [{"content": CHINESE}]}, {"prompt": "too short"}]
    items += [{"prompt": TRADITIONAL}]
    (tmp_path / "eval.jsonl").write_text("\n".join(json.dumps(i) for i in items))
    return index_of(open_source(tmp_path / "eval.jsonl").records(), 13, simplify=True)


@pytest.mark.parametrize("item", [ITEM, CHINESE, ITEM.upper(), ITEM.replace(",", " --"), normalise(TRADITIONAL)])
def test_a_text_with_an_item_in_it_is_found(index: np.ndarray, item: str) -> None:
    assert hits(f"Some words before it, and many of them. {item} And some after it.", index, 13) > 0


def test_other_texts_are_not(index: np.ndarray) -> None:
    assert (
        hits("Write a function that returns the sum of two things, and then go home for tea and cake.", index, 13) == 0
    )
    assert hits("小明有十二个朋友，他们一起去公园散步，看见了很多花。", index, 13) == 0
    assert hits("too short", index, 13) == 0
    assert hits("", index, 13) == 0 and hits(ITEM, np.empty(0, np.uint64), 13) == 0


@given(st.lists(st.sampled_from("甲乙丙丁戊 one two three"), max_size=40), st.integers(1, 6))
def test_a_part_of_a_text_has_no_other_grams_than_the_text(units: list[str], n: int) -> None:
    text = " ".join(units)
    assert np.isin(grams(text[: len(text) // 2].rpartition(" ")[0], n), grams(text, n)).all()
