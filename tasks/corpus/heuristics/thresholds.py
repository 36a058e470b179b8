"""The thresholds of a language, from its YAML file: which measures are bounded, and how lines are filtered."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.corpus.heuristics.measures import C4, LONG, MEASURES
from tasks.errors import StageError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Strict):
    """What a measure must not fall below or rise above."""

    least: float | None = Field(None, description="Lowest value kept")
    most: float | None = Field(None, description="Highest value kept")

    def fault(self, value: float) -> str:
        """What is wrong with a value, or ""."""
        if self.least is not None and value < self.least:
            return f"{value:.4g} is below {self.least:g}"
        if self.most is not None and value > self.most:
            return f"{value:.4g} is above {self.most:g}"
        return ""


class Lines(_Strict):
    """C4's line filter (Raffel et al. 2020); lines that fail are taken out of the text."""

    punctuated: bool = Field(False, description="Take out lines that end without . ? ! or a quotation mark")
    least_words: int = Field(3, ge=0, description="Fewest words of a line")
    longest_word: int = Field(1000, ge=1, description="Most characters of a line's longest word")
    policies: tuple[str, ...] = Field((), description="Phrases, in lower case, whose lines are taken out")

    @cached_property
    def policy_codes(self) -> np.ndarray:
        """uint32: the phrases, each with a line feed behind it."""
        return np.array([ord(c) for phrase in self.policies for c in f"{phrase}\n"], np.uint32)


class Long(_Strict):
    """How a text longer than `corpus.max_characters` is judged (see `measure_long`)."""

    window: int = Field(20_000, ge=1000, description="Characters that are judged together by the language's rules")
    connectives: tuple[str, ...] = Field((), description="Words that join what is said, in lower case")
    rules: dict[str, Range] = Field(min_length=1, description="Measure -> its range, in the order they are asked")

    @model_validator(mode="after")
    def _measures_exist(self) -> Self:
        unknown = [name for name in self.rules if name not in LONG]
        if unknown:
            raise ValueError(f"no such measure: {', '.join(unknown)}; expected some of {', '.join(LONG)}")
        if "connectives" in self.rules and not self.connectives:
            raise ValueError("connectives: has a range but no words; add the language's connectives")
        return self


class Thresholds(_Strict):
    """How text of one language is judged."""

    language: str = Field(pattern="^[a-z]{2,3}$", description="ISO 639-1 code; the file's name")
    segmenter: Literal["words", "chinese"] = Field("words", description="How text is cut into words")
    rules: dict[str, Range] = Field(min_length=1, description="Measure -> its range, in the order they are asked")
    stop_words: tuple[str, ...] = Field((), description="Words of which prose holds some, case included")
    short_line: int = Field(30, ge=1, description="Characters up to which a line is short")
    lines: Lines | None = Field(None, description="The line filter; none keeps every line")
    long: Long | None = Field(None, description="Rules for long texts; none drops them for their length")

    @model_validator(mode="after")
    def _measures_exist(self) -> Self:
        unknown = [name for name in self.rules if name not in MEASURES]
        if unknown:
            raise ValueError(f"no such measure: {', '.join(unknown)}; expected some of {', '.join(MEASURES)}")
        unasked = [name for name in C4 if name in self.rules and self.lines is None]
        if unasked:
            raise ValueError(f"{', '.join(unasked)}: C4's measures need `lines`, its line filter")
        return self

    @cached_property
    def stop_word_table(self) -> np.ndarray:
        """uint64 hash table of the stop words."""
        from tasks.corpus.native.counting import hash_of, slot_of, slots_for

        table = np.zeros(slots_for(len(self.stop_words)), np.uint64)
        for word in self.stop_words:
            key = np.uint64(hash_of(word))
            table[slot_of(table, key)] = key
        return table


def load_thresholds(folder: Path) -> dict[str, Thresholds]:
    """Language -> its thresholds, from LANGUAGE.yaml.

    Raises:
        StageError: a file that does not hold, with each wrong field.
    """
    return {file.stem: _read(file) for file in sorted(folder.glob("*.yaml"))}


def _read(file: Path) -> Thresholds:
    import yaml

    try:
        return Thresholds.model_validate({"language": file.stem, **yaml.safe_load(file.read_text(encoding="utf-8"))})
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise StageError(f"{file}: not readable as a YAML mapping: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise StageError(f"{file}: {wrong}; see tasks/corpus/heuristics/thresholds.py for the fields") from error
