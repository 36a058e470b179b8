"""The measures are datatrove's: its own filters, given our words, decide as our bounds do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import TERMINAL_PUNCTUATION
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.corpus.config import HEURISTICS
from tasks.corpus.heuristics.measures import MEASURES, measure
from tasks.corpus.heuristics.thresholds import Range, Thresholds
from tests.tasks.corpus.heuristics.test_segmentation import words

PIECES = [
    "the",
    "of",
    "and",
    "with",
    "cat",
    "cat",
    "river",
    "Rose",
    "x1",
    "#",
    "...",
    "…",
    ".",
    ",",
    "- item",
    "• item",
]
PIECES += ["\n", "\n", "\n\n", "\n \n", "wait...", "Use of cookies", "lorem ipsum", "{", "[1]", "[edit]"]
PIECES += ["javascript"]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=60).map(lambda pieces: " ".join([*pieces, "cat"]))
OFF = {"min_doc_words": 0, "max_doc_words": 0, "min_avg_word_length": 0, "max_avg_word_length": 0}
OFF |= {"max_symbol_word_ratio": 0, "max_bullet_lines_ratio": 0, "max_ellipsis_lines_ratio": 0}
OFF |= {"max_non_alpha_words_ratio": 0, "min_stop_words": 0}
NO_GRAMS = {"top_n_grams": (), "dup_n_grams": ()}
NO_LINES = {"dup_line_frac": 0, "dup_para_frac": 0, "dup_line_char_frac": 0, "dup_para_char_frac": 0}
FINEWEB = {"line_punct_thr": 0, "short_line_thr": 9, "char_duplicates_ratio": 9, "new_line_ratio": 99}


def repetition(**values: object) -> GopherRepetitionFilter:
    return GopherRepetitionFilter(**(NO_LINES | NO_GRAMS | values))


def grams(n: int, kind: str) -> Callable[[float], GopherRepetitionFilter]:
    return lambda most: repetition(**{kind: ((n, most),)})


PEERS: dict[str, tuple[str, Callable[[float], object]]] = {
    "duplicate_lines": ("most", lambda v: repetition(dup_line_frac=v)),
    "duplicate_line_characters": ("most", lambda v: repetition(dup_line_char_frac=v)),
    "duplicate_paragraphs": ("most", lambda v: repetition(dup_para_frac=v)),
    "duplicate_paragraph_characters": ("most", lambda v: repetition(dup_para_char_frac=v)),
    **{f"top_{n}_gram": ("most", grams(n, "top_n_grams")) for n in (2, 3, 4)},
    **{f"duplicate_{n}_grams": ("most", grams(n, "dup_n_grams")) for n in range(5, 11)},
    "word_length": ("least", lambda v: GopherQualityFilter(**(OFF | {"min_avg_word_length": 6 * v}))),
    "words": ("least", lambda v: GopherQualityFilter(**(OFF | {"min_doc_words": int(60 * v)}))),
    "bullet_lines": ("most", lambda v: GopherQualityFilter(**(OFF | {"max_bullet_lines_ratio": v}))),
    "ellipsis_lines": ("most", lambda v: GopherQualityFilter(**(OFF | {"max_ellipsis_lines_ratio": v}))),
    "alphabetic_words": ("least", lambda v: GopherQualityFilter(**(OFF | {"max_non_alpha_words_ratio": v}))),
    "stop_words": ("least", lambda v: GopherQualityFilter(**(OFF | {"min_stop_words": int(5 * v)}))),
    "line_punctuation": ("least", lambda v: FineWebQualityFilter(**(FINEWEB | {"line_punct_thr": v}))),
    "short_lines": ("most", lambda v: FineWebQualityFilter(**(FINEWEB | {"short_line_thr": v}))),
    "duplicated_characters": ("most", lambda v: FineWebQualityFilter(**(FINEWEB | {"char_duplicates_ratio": v}))),
    "lines_per_word": ("most", lambda v: FineWebQualityFilter(**(FINEWEB | {"new_line_ratio": v}))),
}
SCALE = {"word_length": 6.0, "words": 60, "stop_words": 5}


def thresholds(**values: object) -> Thresholds:
    return Thresholds(
        **({"language": "en", "rules": {"words": {}}, "stop_words": ("the", "of", "and", "with")} | values)
    )


@pytest.fixture(autouse=True)
def same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """datatrove's filters see the words that ours see."""
    for module in ("gopher_quality_filter", "gopher_repetition_filter", "fineweb_quality_filter"):
        monkeypatch.setattr(
            f"datatrove.pipeline.filters.{module}.split_into_words", lambda text, _language: words(text)
        )


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, value=st.floats(0.02, 0.98))
@example(text="- item - item - item . cat", value=0.3)  # n-grams that differ in - and ., neighbours in ASCII
def test_each_bound_decides_as_the_filter_of_datatrove(name: str, text: str, value: float) -> None:
    side, peer = PEERS[name]
    bound = value * SCALE.get(name, 1.0)
    bound = int(bound) if name in ("words", "stop_words") else bound
    ours = not Range(**{side: bound}).fault(measure(text, thresholds()).scores[name])
    filter_ = peer(value)
    if name == "stop_words":
        filter_.stop_words = {"the", "of", "and", "with"}
    assert ours == (filter_.filter(Document(text=text, id="")) is True)


@settings(max_examples=150)
@given(TEXTS, st.booleans())
@example("{ javascript cat", False)  # the line goes before its bracket is seen
def test_the_line_filter_leaves_what_c4_leaves(text: str, punctuated: bool) -> None:
    peer = Document(text=text, id="")
    verdict = C4QualityFilter(filter_no_terminal_punct=punctuated, min_num_sentences=-1).filter(peer)
    lines = {"punctuated": punctuated, "policies": ("use of cookies",)}
    ours = measure(text, thresholds(lines=lines))
    dropped = ours.scores["lorem_ipsum"] > 0 or ours.scores["curly_brackets"] > 0
    assert dropped == (verdict is not True)
    assert dropped or ours.text == peer.text


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rained all day. We stayed in! Did you?", 3),
        ("Mr. Smith came. He left...", 2),
        ("One line without end\nAnd another one.\nIs it? Yes.", 4),
        ("他来了。他走了。", 1),
    ],
)
def test_sentences_end_at_marks_and_lines(text: str, sentences: int) -> None:
    lines = {"least_words": 0}
    assert measure(text, thresholds(lines=lines)).scores["sentences"] == sentences


def test_chinese_sentences_are_counted_on_chinese_words() -> None:
    lines = {"least_words": 0}
    assert measure("他来了。他走了。", thresholds(segmenter="chinese", lines=lines)).scores["sentences"] == 2


def test_a_sentence_mark_of_any_script_ends_a_line() -> None:
    for mark in sorted(TERMINAL_PUNCTUATION):
        assert ord(mark) >= 0x20000 or measure(f"some line{mark}", thresholds()).scores["line_punctuation"] == 1.0


def test_measures_of_chinese_do_not_hold_c4s() -> None:
    from tasks.corpus.heuristics.thresholds import load_thresholds

    found = load_thresholds(HEURISTICS)
    assert set(found) >= {"en", "zh"}
    assert set(measure("今天天气很好。", found["zh"]).scores) == set(MEASURES) - {
        "lorem_ipsum",
        "curly_brackets",
        "sentences",
    }
    assert set(measure("A fine day it is.", found["en"]).scores) == set(MEASURES)
    assert measure("", found["en"]).scores == {}
