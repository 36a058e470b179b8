"""Words: nothing is lost or overlaps, English as people cut it, Chinese as jieba does."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.heuristics.measures import segmented
from tasks.corpus.native import code_points

ENGLISH = st.text("aZé9 .,-'’\"()$%:/@#…\n\t的é²", max_size=60)
CHINESE = st.text("中国人民大学生前来的在是有了不研究生命起源3.%aB-+#&_ 　，。\n\U00020000", max_size=60)


def words(text: str, segmenter: str = "words") -> list[str]:
    tokens = segmented(code_points(text), segmenter)
    return [text[a:b] for a, b in zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)]


@settings(max_examples=200)
@given(ENGLISH | CHINESE | st.text(max_size=40), st.sampled_from(["words", "chinese"]))
def test_words_are_all_of_the_text_but_its_spaces(text: str, segmenter: str) -> None:
    assert "".join(words(text, segmenter)) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't know, they’ll cannot.", "I do n't know , they ’ll can not ."),
        ("Mr. Smith's U.S. trip (5km) cost $9.", "Mr. Smith 's U.S. trip ( 5 km ) cost $ 9 ."),
        ("a well-known and/or state-of-the-art idea", "a well - known and/or state - of - the - art idea"),
        ("See http://example.com/a-b?c=d. Or example.org!", "See http://example.com/a-b?c=d . Or example.org !"),
        ('wait... what?! ("so")', 'wait ... what ? ! ( " so " )'),
        ("its ill shell were well", "its ill shell were well"),
    ],
)
def test_english(text: str, expected: str) -> None:
    assert " ".join(words(text)) == expected


@settings(max_examples=200)
@given(CHINESE)
def test_chinese_as_jieba_cuts_it(text: str) -> None:
    import jieba

    jieba.setLogLevel(logging.ERROR)
    assert words(text, "chinese") == [word.strip() for word in jieba.cut(text) if word.strip()]
