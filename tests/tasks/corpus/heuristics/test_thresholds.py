"""Threshold files that cannot be meant are refused, with what was expected."""

from pathlib import Path

import pytest

from tasks.corpus.heuristics.thresholds import load_thresholds
from tasks.errors import StageError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {word: {most: 1}}", "no such measure: word; expected some of duplicate_lines"),
        ("rules: {sentences: {least: 5}}", "need `lines`"),
        ("rules: {words: {lest: 5}}", r"rules\.words\.lest"),
        ("rules: {}", "rules"),
        ("segmenter: jieba\nrules: {words: {least: 1}}", "segmenter"),
        ("rules: [", "not readable as a YAML mapping"),
        ("- 1", "not readable as a YAML mapping"),
        ("", "not readable as a YAML mapping"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "en.yaml").write_text(text)
    with pytest.raises(StageError, match=said):
        load_thresholds(tmp_path)


def test_bounds_say_which_side_was_broken(tmp_path: Path) -> None:
    (tmp_path / "de.yaml").write_text("rules: {words: {least: 3, most: 9}}")
    bound = load_thresholds(tmp_path)["de"].rules["words"]
    assert [bound.fault(value) for value in (2, 3, 9, 10)] == ["2 is below 3", "", "", "10 is above 9"]
