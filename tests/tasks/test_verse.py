"""Form, rhyme and variety of verse, on poems everyone knows and on hypothesis's inventions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verse import (
    distinct_n,
    form_of,
    han,
    matches_form,
    punctuated_in_couplets,
    repetition,
    rhyme_group,
    rhyme_rate,
    rhymes,
    split_lines,
)

QUATRAIN = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"
characters = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=1, max_size=9)


def test_lines_end_at_commas_stops_and_line_ends():
    assert split_lines(QUATRAIN) == ["白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼"]


def test_pauses_quotes_and_spaces_are_no_part_of_a_line():
    assert split_lines("「云、雨」 来，　风去。") == ["云雨来", "风去"]


@given(st.lists(characters, max_size=12), st.sampled_from("，。！？；\n"))
def test_joined_lines_come_apart_as_they_were(lines, mark):
    assert split_lines(mark.join(lines) + mark) == lines


@given(characters, st.integers(2, 20))
def test_equal_lines_have_a_form_and_one_shorter_breaks_it(line, count):
    assert form_of([line] * count) == f"{len(line)}x{count}"
    assert form_of([line] * count + [line + "月"]) == ""


@pytest.mark.parametrize("lines", [[], ["孤句难成诗"], ["one two", "six ten"], ["白日依山□", "黄河入海流"]])
def test_what_is_not_regular_chinese_verse_has_no_form(lines):
    assert form_of(lines) == ""


def test_asked_form_is_lines_and_characters_both():
    assert matches_form(QUATRAIN, "5x4")
    assert not matches_form(QUATRAIN, "7x4")
    assert not matches_form(QUATRAIN, "5x8")
    assert not matches_form(QUATRAIN + "好诗", "5x4")
    assert not matches_form("Here you are: " + QUATRAIN, "5x4")
    assert not matches_form("", "")


def test_couplets_pause_and_then_stop():
    assert punctuated_in_couplets(QUATRAIN)
    assert not punctuated_in_couplets("白日依山尽。黄河入海流，")
    assert not punctuated_in_couplets("白日依山尽，黄河入海流")
    assert not punctuated_in_couplets("")


@pytest.mark.parametrize("pair", ["流楼", "光霜", "东风", "家花", "知时", "晓鸟", "人春"])
def test_rhymes_that_still_sound(pair):
    assert rhymes(*pair)


@pytest.mark.parametrize("pair", ["流光", "花风", "春知", "月花", "a花", "，。"])
def test_what_does_not_rhyme(pair):
    assert not rhymes(*pair)


@given(st.characters(), st.characters())
def test_rhyme_is_symmetric_and_never_fails(a, b):
    assert rhymes(a, b) == rhymes(b, a)
    assert rhymes(a, a) == (rhyme_group(a) != "")


def test_rhyme_rate_looks_at_neighbouring_even_lines():
    assert rhyme_rate(split_lines(QUATRAIN)) == 1.0
    assert rhyme_rate(["一", "流", "二", "楼", "三", "光", "四", "霜"]) == pytest.approx(2 / 3)
    assert rhyme_rate(["一", "流", "二"]) is None


@given(st.lists(st.text(max_size=30), max_size=6), st.integers(1, 4))
def test_variety_and_repetition_are_shares(texts, n):
    assert 0 <= distinct_n(texts, n) <= 1
    assert all(0 <= repetition(text, n) <= 1 for text in texts)


def test_repetition_is_seen():
    assert repetition("春风春风春风春风") > 0.5
    assert repetition("白日依山尽") == 0
    assert distinct_n(["春风", "春风"], 2) == 0.5


@given(st.text(max_size=40))
def test_only_chinese_characters_remain(text):
    assert split_lines(han(text)) == ([han(text)] if han(text) else [])
