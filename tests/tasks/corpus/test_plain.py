"""What of a page the web-text rules measure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.plain import plain


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("## The moon\n\nIt rises.", "The moon\nIt rises."),
        ("See [the *old* map](https://a.b/c_(d)) and ![a map](x.png).", "See the old map and a map."),
        ("| Name | Use |\n| --- | ---: |\n| `cut` | cuts |", "Name Use\ncut cuts"),
        ("Before\n\n```c\nint x = {1};\n```\n\nAfter", "Before\nAfter"),
        ("> said **she**\n> aloud", "said she\naloud"),
        ("- one\n  - two", "- one\n- two"),
        ("用 `git add` 添加，见 <https://git-scm.com/>。", "用 git add 添加，见 。"),
        ("snake_case and 2 * 3 \\| 4", "snake_case and 2 * 3 | 4"),
    ],
)
def test_marks_addresses_and_code_go(markdown: str, expected: str) -> None:
    assert plain(markdown) == expected


@given(st.text())
def test_any_text_ends_in_lines_without_blank_ones(text: str) -> None:
    found = plain(text)
    assert found == found.strip() and "\n\n" not in found


@given(st.lists(st.text("abcdefgh 春秋", min_size=1).map(str.split).filter(bool).map(" ".join), min_size=1))
def test_prose_stays_as_it_is(paragraphs: list[str]) -> None:
    assert plain("\n\n".join(paragraphs)) == "\n".join(paragraphs)
