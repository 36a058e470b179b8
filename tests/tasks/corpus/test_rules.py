"""Every rule on what it must keep and what it must drop; and that all are always asked."""

import tracemalloc
from pathlib import Path

import pytest
from datatrove.data import Document
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.blocks import Judge
from tasks.corpus.documents import draft
from tasks.corpus.language import language_of
from tasks.corpus.rules import Limits, rules_of
from tasks.corpus.words import WordList

ENGLISH = "The moon rises over the quiet hills, and the river goes on talking to itself all night long."
GOOD = {"title": "登楼", "author": "王生", "paragraphs": ["白日依山尽，黄河入海流。", "欲穷千里目，更上一层楼。"]}


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    (tmp_path / "words.txt").write_text("# comment\nCasino\n赌球网站 # a note\n", encoding="utf-8")
    numbers = {
        "min_characters": 16,
        "max_characters": 500,
        "max_long_characters": 500,
        "max_line": 16,
        "max_title": 20,
        "max_notes": 0.6,
    }
    shares = {"max_repetition": 0.3, "max_unsafe": 1.0}
    return Limits(languages=("zh", "en"), safety_words=tmp_path, blocked_urls=tmp_path / "none", **numbers, **shares)


def judged(limits: Limits, fields: dict) -> dict:
    document = Document(text="", id="x", metadata={"bad": "", "draft": draft(fields, simplify=True)})
    (one,) = Judge(rules_of(limits, {})).run(iter([document]), 0, 1)
    return one.metadata


def test_good_texts_pass_every_rule(limits: Limits) -> None:
    for fields in (GOOD, {"text": ENGLISH}, {"text": "今天的天气很好，我们一起去公园散步，看看湖边的柳树。"}):
        facts = judged(limits, fields)
        assert facts["reason"] == "" and all(facts["verdicts"].values())


@pytest.mark.parametrize("sign", ["● ", "■ ", "◆ ", "○ ", "□ ", "◇ ", "〓", "\ue604 ", "\U000f0415 "])
def test_bullets_and_icons_of_a_page_are_no_lost_characters(limits: Limits, sign: str) -> None:
    assert judged(limits, {"text": f"{sign}{ENGLISH}\n{sign}Nobody is awake to hear it."})["reason"] == ""
    poem = judged(limits, GOOD | {"paragraphs": [sign + GOOD["paragraphs"][0]]})
    assert poem["verdicts"]["missing_characters"] is False


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("empty", {"paragraphs": ["。"]}),
        ("empty", {"text": " \n "}),
        ("catalogue_entry", GOOD | {"title": "存目 其一"}),
        ("drama", GOOD | {"paragraphs": ["(正末唱)" + GOOD["paragraphs"][0], "(云)" + GOOD["paragraphs"][1]]}),
        ("drama", GOOD | {"author": "高明《琵琶记》"}),
        ("missing_characters", GOOD | {"paragraphs": ["白日依□尽，黄河入海流。", GOOD["paragraphs"][1]]}),
        ("missing_characters", GOOD | {"paragraphs": [*GOOD["paragraphs"], "（下缺）"]}),
        ("missing_characters", GOOD | {"paragraphs": ["白日依け尽，黄河入海流。", GOOD["paragraphs"][1]]}),
        ("missing_characters", {"text": ENGLISH + " \ufffd"}),
        ("editorial_notes", GOOD | {"paragraphs": [*GOOD["paragraphs"], "（此诗见于某集"]}),
        ("editorial_notes", GOOD | {"paragraphs": [*GOOD["paragraphs"], "（" + "此诗见于某集。" * 9 + "）"]}),
        ("language", {"text": "Der Mond ist aufgegangen, die goldnen Sternlein prangen am Himmel hell und klar."}),
        ("language", {"text": "月が昇り、川は夜通しひとりごとを言いながら流れていく。静かな丘の上で。"}),
        ("length", GOOD | {"paragraphs": GOOD["paragraphs"][:1]}),
        ("length", {"text": ENGLISH * 9}),
        ("line_length", GOOD | {"paragraphs": ["君不见" * 6 + "。"]}),
        ("title", GOOD | {"title": "余与诸公同游山中遇雨" * 3}),
        ("title", GOOD | {"title": "尾声・白日依山尽，黄河"}),
        ("repetition", GOOD | {"paragraphs": GOOD["paragraphs"][:1] * 3}),
        ("repetition", {"text": "Buy it now and be happy.\n" * 9}),
        ("safety", {"text": "快来赌球网站，每天都有大奖等着你，注册就送现金。"}),
        ("safety", {"text": "The best casino in town, the casino you can trust with all of your money."}),
    ],
)
def test_what_each_rule_drops(limits: Limits, rule: str, fields: dict) -> None:
    facts = judged(limits, fields)
    assert not facts["verdicts"][rule]
    assert rule == facts["reason"] and facts["detail"]


def test_all_rules_are_asked_though_one_has_failed(limits: Limits) -> None:
    facts = judged(limits, {"title": "存目", "paragraphs": ["诗题：□□首句：白日。"]})
    failed = {rule for rule, passed in facts["verdicts"].items() if not passed}
    assert failed == {"catalogue_entry", "missing_characters", "length"}
    assert facts["reason"] == "catalogue_entry"
    assert set(facts["verdicts"]) == {rule.name for rule in rules_of(limits, {})}


def test_words_in_letters_are_found_whole_and_chinese_ones_anywhere(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ass\nslot machine\n冰毒\n", encoding="utf-8")
    words = WordList([tmp_path / "a.txt"])
    assert words.found("A classic bass. ASS! Slot machine, slot machines; 买冰毒吗") == ["ass", "slot machine", "冰毒"]
    assert WordList([]).found("anything") == []


def test_languages() -> None:
    assert language_of("床前明月光疑是地上霜")[0] == "zh"
    assert language_of(ENGLISH) == ("en", 0.0)
    assert language_of("12 34 ...") == ("", 0.0)
    assert language_of("") == ("", 0.0)


@given(st.text(st.sampled_from("a春é１3_。𠀀𰀀アᄀ한ⅷ²\U000e0067\U000f0000"), max_size=40))
def test_a_text_is_chinese_by_its_share_of_letters(text: str) -> None:
    letters = sum(c.isalnum() and not c.isdecimal() for c in text)
    share = sum(c in "春𠀀𰀀" for c in text) / max(1, letters)
    chinese = share > 0.5 and sum(c in "アᄀ한" for c in text) / letters < 0.1
    assert language_of(text)[1] == share
    assert not chinese or language_of(text)[0] == "zh"


def test_the_letters_of_a_long_text_take_little_memory() -> None:
    text = "春眠不觉晓处处闻啼鸟" * 100_000
    language_of(text)
    tracemalloc.start()
    language_of(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * len(text)
