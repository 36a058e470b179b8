"""Fenced code is found as CommonMark has it, in one pass over the lines, however many of them open and never close."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.fences import fenced, split
from tasks.corpus.normalise import normalise_markdown
from tasks.corpus.plain import plain


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("a\n```\nb\n```\nc", ["```\nb\n```"]),
        ("```python\nb\n```", ["```python\nb\n```"]),
        ("- a\n  ```\n  b\n  ```  \n", ["  ```\n  b\n  ```  "]),
        ("````\n```\nb\n```\n````", ["````\n```\nb\n```\n````"]),
        ("~~~\n```\n~~~\n```", ["~~~\n```\n~~~"]),
        ("```\n```\n```\nb", ["```\n```"]),
        ("```\nno end", []),
        ("```\n~~~\n", []),
        ("```one line```\n```", []),
        ("``\nb\n``", []),
    ],
)
def test_blocks_as_commonmark_has_them(text: str, blocks: list[str]) -> None:
    assert [text[start:stop] for start, stop in fenced(text)] == blocks


@given(st.lists(st.sampled_from(["```", "````", "~~~", "```c", "  ```", "text", "", "``"]), max_size=20))
def test_nothing_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert "".join(prose + code for prose, code in split(text)) == text


@pytest.mark.parametrize("fences", ["```\n~~~\n", "````c\n```c\n", "`````\n```\n~~~~~\n"])
def test_fences_without_an_end_take_no_time(fences: str) -> None:
    """Looking for the end of each anew would take hours."""
    text = "~~~~~~\n``````\n" + (fences + "word\n") * 100_000
    assert sum(1 for _ in fenced(text)) < 100_001


def test_code_keeps_its_lines_and_prose_does_not() -> None:
    text = "- a\n  ```\n  １  b\n\n\n\n  c\n  ```\n\n\n\n１  two"
    assert normalise_markdown(text) == "- a\n\n  ```\n  １  b\n\n\n\n  c\n  ```\n\n1 two"
    assert plain(text) == "- a\n１ two"
