"""Requests, dialogues and judgements made from poems."""

import json
import random

import pytest

from tasks.align.judge import answer_quality, quality
from tasks.chat import check_messages
from tasks.poems import Poem, regular_poems, unit_hash, verse, without
from tasks.poet_dialogues import Dialogues, small_talk
from tasks.poet_requests import compose, continuation, theme_of, who
from tasks.poet_tools import POET_TOOLS, form_problem
from tasks.verse import matches_form
from tests.stages import corpus

NIGHT = Poem("p1", "静夜思", "李白", ("床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"), "5x4")
TOWER = Poem("p2", "登鹳雀楼", "王之涣", ("白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼"), "5x4")


def draws():
    return [random.Random(seed) for seed in range(40)]


def test_verse_is_punctuated_in_couplets():
    assert NIGHT.text == "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
    assert verse(["一二三"]) == "一二三。"


def test_a_request_for_a_poem_names_its_form_and_is_answered_with_it():
    for draw in draws():
        request = compose(NIGHT, draw)
        assert "五言绝句" in request.prompt
        assert "静夜思" in request.prompt or theme_of(NIGHT) in request.prompt
        assert matches_form(request.answer, request.check["form"])


def test_a_continuation_together_with_what_was_given_is_the_poem():
    for draw in draws():
        request = continuation(NIGHT, draw)
        assert "床前明月光，" in request.prompt
        assert NIGHT.text.endswith(request.answer)
        assert matches_form(request.answer, request.check["form"])


def test_who_wrote_it():
    request = who(NIGHT, random.Random(0))
    assert request.answer == "这是李白的《静夜思》。"
    assert any(line in request.prompt for line in NIGHT.lines)


def test_dialogues_are_sound_conversations_whose_calls_fit_the_schemas():
    from jsonschema import validate

    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in POET_TOOLS}
    dialogues, called = Dialogues([NIGHT, TOWER]), set()
    for draw in draws():
        messages = dialogues.exchange(NIGHT, draw)
        assert check_messages(messages) == ""
        for message in messages:
            for call in message.get("tool_calls", []):
                validate(call["function"]["arguments"], schemas[call["function"]["name"]])
                called.add(call["function"]["name"])
    assert called <= set(schemas) and len(called) >= 2


def test_the_answer_about_a_form_is_what_the_tool_said():
    for draw in draws():
        _, call, response, answer = Dialogues([NIGHT]).check(NIGHT, draw)
        arguments = call["tool_calls"][0]["function"]["arguments"]
        result = json.loads(response["content"])
        assert result["problem"] == form_problem(**arguments)
        assert result["correct"] == matches_form(arguments["text"], arguments["form"])
        assert result["problem"] in answer["content"]


def test_rhymes_rhyme_and_leave_the_asked_character_out():
    from tasks.verse import rhymes

    poems = [Poem(f"p{n}", "甲", "乙", ("春风江水清", f"天山夜月{c}"), "5x2") for n, c in enumerate("明声青城情行")]
    messages = Dialogues(poems).rhyme(poems[0], random.Random(0))
    listed = json.loads(messages[2]["content"])["characters"]
    assert "明" not in listed and all(rhymes("明", other) for other in listed)
    assert all(character in messages[3]["content"] for character in listed[:5])


def test_small_talk_is_a_question_and_its_answer():
    assert all(check_messages(small_talk(draw)) == "" for draw in draws())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (NIGHT.text, ""),
        (verse(NIGHT.lines[:2]), "共有2句"),
        (verse(["床前明月", *NIGHT.lines[1:]]), "第1句有4字"),
        (verse(["床前明月"] * 4), "第1句有4字"),
    ],
)
def test_what_is_wrong_with_a_form(text, problem):
    assert form_problem(text, "5x4") == problem


def test_held_out_poems_share_neither_title_nor_line_with_what_is_trained_on():
    same_title = Poem("p3", "静夜思", "杜甫", ("甲乙丙丁戊",) * 4, "5x4")
    same_line = Poem("p4", "他", "杜甫", ("床前明月光", "甲乙丙丁戊", "子丑寅卯辰", "金木水火土"), "5x4")
    assert list(without(iter([same_title, same_line, TOWER]), [NIGHT])) == [TOWER]


def test_only_regular_poems_of_the_share_are_read(tmp_path):
    folder = corpus(tmp_path / "corpus", poems=40, validation=4)
    poems = list(regular_poems(folder, "train", share=0.5))
    assert {poem.id for poem in poems} == {f"poem-{n:04d}" for n in range(40) if unit_hash(f"poem-{n:04d}") < 0.5}
    assert all(matches_form(poem.text, poem.form) for poem in poems)


def test_quality_prefers_form_then_rhyme_then_variety():
    rhymeless = verse(["床前明月光", "疑是地上霜", "举头望明月", "低头思故人"])
    repeated = verse(["床前明月光", "疑是地上霜"] * 2)
    cut = verse(["床前明月光", "疑是地上", "举头望明月", "低头思故乡"])
    ranked = [quality(text, "5x4") for text in (NIGHT.text, rhymeless, cut, "")]
    assert ranked == sorted(ranked, reverse=True) and len(set(ranked)) == 4
    assert quality(NIGHT.text, "5x4") > quality(repeated, "5x4")


@pytest.mark.parametrize("ask", [compose, continuation])
def test_a_poem_is_a_good_answer_and_half_of_it_is_not(ask):
    for draw in draws():
        request = ask(NIGHT, draw)
        assert answer_quality(request, request.answer) >= 1 > answer_quality(request, request.answer[:8])
