"""One spelling of a text, whatever it came in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.normalise import nfkc, normalise

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("，。！？：；\n\t 風月（）"), max_size=60)


@given(texts)
def test_applying_it_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text, simplify=False)
    assert normalise(once, simplify=False) == once


@given(texts)
def test_no_control_characters_and_no_stray_spaces_remain(text: str) -> None:
    clean = normalise(text, simplify=False)
    assert not any(unicodedata.category(c) == "Cc" and c != "\n" for c in clean)
    assert clean == clean.strip() and "  " not in clean and " \n" not in clean and "\n\n\n" not in clean


@given(texts)
def test_nfkc_spares_chinese_punctuation_only(text: str) -> None:
    marks = "，！？：；（）～…"
    plain = "".join(c for c in text if c not in marks and not "\ufdd0" <= c <= "\ufdef" and c not in "\ufffe\uffff")
    assert nfkc(plain) == unicodedata.normalize("NFKC", plain)
    assert nfkc(marks) == marks


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("黃河入海流，", "黄河入海流，"),
        ("ＡＢＣ１２３ ﬁne", "ABC123 fine"),
        ("白日\u200b依山\ufeff尽", "白日依山尽"),
        ("一\r\n二\r三\u2028四", "一\n二\n三\n四"),
        ("  a \t b  \n\n\n\n c ", "a b\n\nc"),
        ("云来,雨去!谁知?", "云来，雨去！谁知？"),
        ("pay 1,000 (now), please!", "pay 1,000 (now), please!"),
        ("頭髮乾了", "头发干了"),
        ("豈金\uf90a", "岂金金"),
    ],
)
def test_examples(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


def test_simplifying_can_be_switched_off() -> None:
    assert normalise("黃河", simplify=False) == "黃河"
