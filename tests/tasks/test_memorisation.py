"""Longest common substrings against a slow and obvious search."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.memorisation import SubstringIndex

few = st.text("春夏秋冬月𠀀", min_size=0, max_size=24)
POEM = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"


def longest_by_search(text: str, documents: list[str]) -> int:
    pieces = {text[i:j] for i in range(len(text)) for j in range(i + 4, len(text) + 1)}
    return max((len(p) for p in pieces if any(p in d for d in documents)), default=0)


@settings(max_examples=300)
@given(few, st.lists(few, max_size=5))
def test_agrees_with_a_plain_search(text, documents):
    found = SubstringIndex(documents).longest(text)
    assert len(found) == longest_by_search(text, documents)
    assert not found or (found in text and any(found in d for d in documents))


def test_punctuation_does_not_hide_a_copy():
    assert SubstringIndex([POEM]).longest("诗曰:黄河入海流\n欲穷千里目!") == "黄河入海流欲穷千里目"


def test_a_copy_does_not_run_over_two_documents():
    assert SubstringIndex(["白日依山尽", "黄河入海流"]).longest("白日依山尽黄河入海流") == "白日依山尽"


def test_an_empty_corpus_holds_nothing():
    assert SubstringIndex([]).longest(POEM) == ""
