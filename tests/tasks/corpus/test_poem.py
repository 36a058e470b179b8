"""Poems: editors' notes go, their verse stays; what is no verse is recognised."""

import json

import pytest

from tasks.corpus.documents import Malformed, draft
from tasks.corpus.poem import poem, without_notes

QUATRAIN = ["白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"]


def record(**fields: object) -> dict[str, object]:
    return {"title": "登鸛雀樓", "author": "王之渙", "paragraphs": QUATRAIN} | fields


def test_the_text_to_train_on_and_its_metadata() -> None:
    one = draft(record(dynasty="唐", id="x"), simplify=True)
    assert one.text == "《登鹳雀楼》王之涣\n白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"
    assert json.loads(one.metadata) == {
        "title": "登鹳雀楼",
        "author": "王之涣",
        "dynasty": "唐",
        "form": "5x4",
        "lines": ["白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼"],
    }
    assert one.metadata == json.dumps(
        json.loads(one.metadata), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("阑风长雨（一作「东风细雨」）秋纷纷", "阑风长雨秋纷纷"),
        ("仁高[姒]幄披", "仁高姒幄披"),
        ("池草[一]攒别[二七]", "池草攒别"),
        ("〔黄钟为角〕华盖既动", "华盖既动"),
        ("夜来（〖1〗此诗见《集》（卷二）。\n又见他书。）风雨", "夜来风雨"),
        ("雨(合)来", "雨来"),
        ("未完（此注不终", "未完（此注不终"),
    ],
)
def test_notes_go_and_supplied_characters_stay(raw: str, clean: str) -> None:
    assert without_notes(raw) == clean


def test_what_notes_leave_behind_is_tidied() -> None:
    one = poem("饮酒 其八○", "李氏2", "谁家玉笛，暗飞声！。\n（见《诗集》。\n）。\n散入春风。")
    assert (one.title, one.author) == ("饮酒 其八〇", "李氏")
    assert one.verse == "谁家玉笛，暗飞声！\n散入春风。"
    assert 0 < one.note_share < 0.5


def test_form_needs_couplets_of_equal_lines() -> None:
    assert poem("", "", "白日依山尽，黄河入海流。").form == "5x2"
    assert poem("", "", "白日依山尽。黄河入海流，").form == ""
    assert poem("", "", "如梦令，昨夜雨疏风骤。").form == ""


@pytest.mark.parametrize("raw", ["(正末唱)我不曾", "（下）去也", "(云)早来到", "（正旦见科，云）来"])
def test_scenes_are_recognised(raw: str) -> None:
    assert poem("", "", raw).is_drama


@pytest.mark.parametrize("raw", ["落花（以上见前）", "白日依山尽", "阑风（一作东）雨"])
def test_verse_is_no_scene(raw: str) -> None:
    assert not poem("", "", raw).is_drama


def test_gaps_and_catalogue_entries_are_recognised() -> None:
    assert poem("", "", "万里汉都护。\n（下缺）").has_lacuna
    assert not poem("", "", "月有阴晴圆缺（一作「满」）").has_lacuna
    assert poem("存目 其一", "", "诗题：秋日首句：闲说飘流亦异乡。").is_catalogue_entry


def test_a_poem_without_title_or_author_is_its_verse() -> None:
    assert draft({"paragraphs": ["云来。"]}, simplify=False).text == "云来。"
    assert draft({"paragraphs": [], "title": "空"}, simplify=False).key == ""


def test_plain_text_keeps_its_scalar_fields() -> None:
    one = draft({"text": " Hello\tworld ", "title": "t", "n": 3, "deep": {"x": 1}}, simplify=False)
    assert (one.text, json.loads(one.metadata), one.key) == ("Hello world", {"title": "t", "n": 3}, "hello world")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"content": "x"}, "text: missing; the record has content"),
        ({"text": 5}, "text: expected a text, found int"),
        ({"text": "a\0b"}, "text: holds NUL"),
        (record(paragraphs="one string"), "paragraphs: expected a list of texts, found str"),
        (record(paragraphs=[1, 2]), "paragraphs: expected a list"),
        (record(paragraphs=["a\0"]), "paragraphs: holds NUL"),
        (record(title=["x"]), "title: expected a text, found list"),
    ],
)
def test_malformed_records_say_which_field(fields: dict, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        draft(fields, simplify=False)
