"""Everything the heuristic rules look at, from one segmentation of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tasks.corpus.code.measures import CODE

if TYPE_CHECKING:
    from tasks.corpus.heuristics.thresholds import Thresholds
    from tasks.corpus.native.tokens import Tokens

GOPHER_REPETITION = (
    "duplicate_lines",
    "duplicate_line_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    *(f"top_{n}_gram" for n in (2, 3, 4)),
    *(f"duplicate_{n}_grams" for n in (5, 6, 7, 8, 9, 10)),
)
GOPHER_QUALITY = (
    "words",
    "word_length",
    "hashes_per_word",
    "ellipses_per_word",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "stop_words",
)
C4 = ("lorem_ipsum", "curly_brackets", "sentences")
FINEWEB = ("line_punctuation", "short_lines", "duplicated_characters", "lines_per_word")
LONG = (
    "long_characters",
    "failing_windows",
    "repeated_windows",
    "connectives",
    "coherence",
)  # of texts that are judged by windows
MEASURES = (*GOPHER_REPETITION, *GOPHER_QUALITY, *C4, *FINEWEB)

_FAMILIES = {"gopher": (*GOPHER_REPETITION, *GOPHER_QUALITY), "c4": C4, "fineweb": FINEWEB, "code": CODE, "long": LONG}

_QUALITY = len(GOPHER_REPETITION)
_C4 = _QUALITY + len(GOPHER_QUALITY)
_FINEWEB = _C4 + len(C4)


class Measured(NamedTuple):
    """A text after the line filter, and its measures by name; those that do not apply to the language are absent."""

    text: str
    scores: dict[str, float]


def rule_name(measure: str) -> str:
    """The name of the rule that bounds a measure: FAMILY_MEASURE."""
    return next(f"{family}_{measure}" for family, measures in _FAMILIES.items() if measure in measures)


def measure(text: str, thresholds: Thresholds) -> Measured:
    """Segment a text once and take every measure of it.

    Gopher's measures are of the text as it came; C4's and FineWeb's of the text without the lines that the language's
    line filter takes out, which is the text that comes back (as in FineWeb's pipeline; Penedo et al. 2024).
    """
    from tasks.corpus.native import as_text, code_points
    from tasks.corpus.native.characters import classes
    from tasks.corpus.native.lines import clean, sentences
    from tasks.corpus.native.quality import fineweb, gopher
    from tasks.corpus.native.repetition import repetition

    codes, table = code_points(text), classes()
    if not len(codes):
        return Measured(text, {})
    scores = np.zeros(len(MEASURES))
    tokens = segmented(codes, thresholds.segmenter)
    repetition(codes, table, tokens, scores[:_QUALITY])
    gopher(codes, table, tokens, thresholds.stop_word_table, scores[_QUALITY:_C4])
    names = MEASURES
    if thresholds.lines:
        lines = thresholds.lines
        arguments = (lines.policy_codes, lines.punctuated, lines.least_words, lines.longest_word)
        kept = clean(codes, table, *arguments, scores[_C4:_FINEWEB])
        if len(kept) != len(codes) or not np.array_equal(kept, codes):
            codes, text = kept, as_text(kept)
            tokens = segmented(codes, thresholds.segmenter)
        scores[_C4 + 2] = sentences(codes, tokens)
    else:
        names = (*GOPHER_REPETITION, *GOPHER_QUALITY, *[""] * len(C4), *FINEWEB)
    fineweb(codes, table, len(tokens.starts), thresholds.short_line, scores[_FINEWEB:])
    return Measured(text, {name: value for name, value in zip(names, scores.tolist(), strict=True) if name})


def segmented(codes: np.ndarray, segmenter: str) -> Tokens:
    """The words of a text; segmenter: `words` (spaces between words) or `chinese`."""
    from tasks.corpus.native.characters import classes
    from tasks.corpus.native.chinese import dictionary, segment_chinese
    from tasks.corpus.native.tokens import describe
    from tasks.corpus.native.words import known_forms, segment_words, unit_hashes

    starts, ends = np.empty(len(codes) + 1, np.int32), np.empty(len(codes) + 1, np.int32)
    if segmenter == "chinese":
        count = segment_chinese(codes, classes(), dictionary(), starts, ends)
    else:
        count = segment_words(codes, classes(), *known_forms(), unit_hashes(), starts, ends)
    return describe(codes, classes(), starts, ends, count)
