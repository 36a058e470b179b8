"""All rules in their order, with the numbers they go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.corpus.classify.labelled import Labelled
from tasks.corpus.code.thresholds import CodeThresholds
from tasks.corpus.heuristics.thresholds import Thresholds
from tasks.corpus.rules.classified import Classified
from tasks.corpus.rules.lists import BlockedUrl, Contamination, Safety
from tasks.corpus.rules.measured import code_rules_of, heuristics_of, long_rules_of
from tasks.corpus.rules.poems import CatalogueEntry, Drama, EditorialNotes, LineLength, Title
from tasks.corpus.rules.rule import Rule
from tasks.corpus.rules.text import Empty, Language, Length, MissingCharacters, Repetition


@dataclass(frozen=True)
class Limits:
    """The numbers the rules go by (see `CorpusConfig` for what each means)."""

    languages: tuple[str, ...]
    min_characters: int
    max_characters: int
    max_long_characters: int
    max_line: int
    max_title: int
    max_notes: float
    max_repetition: float
    max_unsafe: float
    safety_words: Path
    blocked_urls: Path
    max_contamination: int = 0
    contamination_ngram: int = 13
    classifiers: Mapping[str, Labelled] = field(default_factory=dict)
    further_words: Path | None = None  # a list made of `safety_sources`
    trained: Path | None = None  # folder of the classifiers
    contamination_index: Path | None = None  # as `contamination.index_of` made it; None = nothing to look for


def rules_of(limits: Limits, thresholds: Mapping[str, Thresholds], code: CodeThresholds | None = None) -> list[Rule]:
    """The rules in the order in which the ledger names the first that failed."""
    return [
        Empty(),
        BlockedUrl(limits.blocked_urls),
        CatalogueEntry(),
        Drama(),
        Language(limits.languages),
        MissingCharacters(),
        EditorialNotes(limits.max_notes),
        Length(limits.min_characters, limits.max_characters),
        LineLength(limits.max_line),
        Title(limits.max_title),
        Repetition(limits.max_repetition),
        *heuristics_of(thresholds),
        *long_rules_of(thresholds, limits.max_long_characters),
        *code_rules_of(code),
        Safety(limits.safety_words, limits.further_words, limits.max_unsafe),
        *(Classified(name, spec, limits.trained) for name, spec in limits.classifiers.items()),
        Contamination(limits.contamination_index, limits.contamination_ngram, limits.max_contamination),
    ]
