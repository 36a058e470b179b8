"""What the waterfall counts."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.waterfall import sizes


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("春眠不觉晓，处处闻啼鸟。", 12),
        ("The moon rises.", 4),
        ("don't_stop 3.14", 6),
        ("GPT模型 rocks 👍\n\u3000", 5),
    ],
)
def test_a_token_is_a_chinese_character_a_word_or_a_sign(text: str, tokens: int) -> None:
    assert [column.to_pylist() for column in sizes(pa.chunked_array([[text]]))] == [[len(text)], [tokens]]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.lists(st.text("月亮 a1.é")))
def test_texts_are_counted_each_by_itself(one: list[str], two: list[str]) -> None:
    together = sizes(pa.chunked_array([one, two], pa.string()))
    assert together[0].to_pylist() == [len(text) for text in one + two]
    alone = [sizes(pa.chunked_array([[text]]))[1].to_pylist()[0] for text in one + two]
    assert together[1].to_pylist() == alone
