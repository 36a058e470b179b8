"""The rules a draft must pass. Each is a datatrove filter: True, or (False, what was found); all are asked, always.

A further rule is a class here and its place in `rules_of`; its verdicts become a column of the ledger.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from tasks.corpus.classify.labelled import Labelled
from tasks.corpus.classify.model import LONGEST, Classifier, load, pieces
from tasks.corpus.classify.spoil import shape
from tasks.corpus.code.thresholds import CodeThresholds
from tasks.corpus.contamination import hits
from tasks.corpus.documents import Draft
from tasks.corpus.heuristics.measures import rule_name
from tasks.corpus.heuristics.thresholds import Range, Thresholds
from tasks.corpus.table import CLASSIFIED
from tasks.corpus.urls import BlockList
from tasks.corpus.words import WordList
from tasks.verse import HAN, han, split_lines

Verdict = bool | tuple[bool, str]

# Lost characters (□ ○ ●), ones without a code point (private use, descriptions such as ⿰ or {木/又}), decoding damage
_MISSING = re.compile("[□○●■◆◇〓\ufffd\ue000-\uf8ff\u2ff0-\u2fff\U000f0000-\U0010fffd]")
_DAMAGE = re.compile("[{}<>|*=+/\u3040-\u30fa\u30fc-\u312f\u2500-\u257f\u0400-\u04ffA-Za-zａ-ｚ]|[\u2e80-\u2fdf]")
_BRACKETS = re.compile(r"[()（）\[\]［］〔〕〖〗【】]")
_NOTHING = ""


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


class Bound(NamedTuple):
    """A rule's numbers: the documents whose score lies below `least` or above `most` fail it; replay goes by them."""

    rule: str
    score: str  # a column of the ledger
    least: float | None = None
    most: float | None = None
    language: str = ""  # applies to texts of this language only; empty = all


class Rule(BaseFilter):
    """A named filter over documents that carry their `Draft`."""

    bounds: tuple[Bound, ...] = ()
    judges_code = False

    def __init__(self) -> None:
        super().__init__()

    def applies(self, draft: Draft) -> bool:
        """Whether it has anything to say about such a document; if not, the ledger has no verdict of it."""
        return draft.code is None or self.judges_code

    def filter(self, doc: Document) -> Verdict:
        found = self.fault(doc.metadata["draft"])
        return (False, found) if found else True

    def fault(self, draft: Draft) -> str:
        """What is wrong, or "" when nothing is."""
        raise NotImplementedError


class Empty(Rule):
    name = "empty"
    judges_code = True

    def fault(self, draft: Draft) -> str:
        return _NOTHING if draft.key else "no verse" if draft.poem else "no text"


class CatalogueEntry(Rule):
    """Records that only say a poem exists elsewhere."""

    name = "catalogue_entry"

    def fault(self, draft: Draft) -> str:
        return "names a poem that stands elsewhere" if draft.poem and draft.poem.is_catalogue_entry else _NOTHING


class Drama(Rule):
    """Scenes of plays: speech and stage directions between the arias."""

    name = "drama"

    def fault(self, draft: Draft) -> str:
        return "stage directions" if draft.poem and draft.poem.is_drama else _NOTHING


class MissingCharacters(Rule):
    name = "missing_characters"

    def fault(self, draft: Draft) -> str:
        lost = _MISSING.search(draft.text) or (draft.poem and _DAMAGE.search(draft.text))
        if lost:
            return f"{lost[0]} in {_around(draft.text, lost.start())}"
        return "a gap that editors mark" if draft.poem and draft.poem.has_lacuna else _NOTHING


class EditorialNotes(Rule):
    """Poems of which editors wrote much, or whose notes do not end."""

    name = "editorial_notes"

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "note_share", most=most),)

    def fault(self, draft: Draft) -> str:
        if draft.poem is None:
            return _NOTHING
        draft.scores["note_share"] = draft.poem.note_share
        left = _BRACKETS.search(draft.text)
        if left:
            return f"a bracket left in {_around(draft.text, left.start())}"
        too_much = draft.poem.note_share > self.most
        return f"{draft.poem.note_share:.0%} of it are notes" if too_much else _NOTHING


class Language(Rule):
    name = "language"

    def __init__(self, languages: Sequence[str]) -> None:
        super().__init__()
        self.languages = set(languages)

    def fault(self, draft: Draft) -> str:
        draft.scores["han_share"] = draft.detected[1]
        return _NOTHING if draft.language in self.languages else f"language {draft.language or 'unknown'}"


class Length(Rule):
    name = "length"
    judges_code = True

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self.least, self.most = least, most
        self.bounds = (Bound(self.name, "characters_judged", least, most),)

    def applies(self, draft: Draft) -> bool:
        return not draft.long

    def fault(self, draft: Draft) -> str:
        size = len(draft.key)
        draft.scores["characters_judged"] = size
        return _NOTHING if self.least <= size <= self.most else f"{size} characters"


class LongLength(Rule):
    """Texts beyond what even a long one may have; asked where a language has rules for long texts."""

    name = "long_length"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "long_characters", most=most),)

    def applies(self, draft: Draft) -> bool:
        return draft.long

    def fault(self, draft: Draft) -> str:
        size = draft.scores["long_characters"]
        return f"{size:.0f} characters" if size > self.most else _NOTHING


class LineLength(Rule):
    """Poems with a line no verse has: prose, or verse without its punctuation."""

    name = "line_length"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "longest_line", most=most),)

    def fault(self, draft: Draft) -> str:
        longest = max(map(len, draft.poem.lines), default=0) if draft.poem else 0
        draft.scores["longest_line"] = longest
        return f"a line of {longest} characters" if longest > self.most else _NOTHING


class Title(Rule):
    """Poems whose title is a preface, or holds part of the poem."""

    name = "title"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "title_length", most=most),)

    def fault(self, draft: Draft) -> str:
        size = len(han(draft.poem.title)) if draft.poem else 0
        draft.scores["title_length"] = size
        if size > self.most:
            return f"a title of {size} characters"
        runs_on = draft.poem and "·" in draft.poem.title and re.search("[，。]", draft.poem.title)
        return "the title runs on into the verse" if runs_on else _NOTHING


class Repetition(Rule):
    """Texts that say much of what they say again: characters in repeated lines (after Rae et al. 2021, table A1)."""

    name = "repetition"

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "repeated_share", most=most),)

    def fault(self, draft: Draft) -> str:
        lines = Counter(draft.poem.lines if draft.poem else split_lines(draft.body))
        whole = sum(len(line) * n for line, n in lines.items())
        share = sum(len(line) * (n - 1) for line, n in lines.items()) / whole if whole else 0.0
        draft.scores["repeated_share"] = share
        return f"{share:.0%} of it is repeated lines" if share > self.most else _NOTHING


class Safety(Rule):
    """Texts where words of the lists are dense."""

    name = "safety"
    judges_code = True

    def __init__(self, lists: Path, further: Path | None, most: float) -> None:
        super().__init__()
        self.words = WordList([*sorted(lists.glob("*.txt")), *([further] if further else [])])
        self.most = most
        self.bounds = (Bound(self.name, "unsafe_per_1000", most=most),)

    def fault(self, draft: Draft) -> str:
        found = self.words.found(draft.text)
        density = 1000 * len(found) / max(1, len(draft.text))
        draft.scores["unsafe_per_1000"] = density
        return (
            f"{len(found)} words of the lists: {', '.join(sorted(set(found))[:5])}" if density > self.most else _NOTHING
        )


class BlockedUrl(Rule):
    """Pages from a domain or address of the block lists."""

    name = "blocked_url"
    judges_code = True

    def __init__(self, lists: Path) -> None:
        super().__init__()
        self.blocked = BlockList(sorted(lists.glob("*.txt")))

    def fault(self, draft: Draft) -> str:
        found = self.blocked.found(draft.url) if draft.url else ""
        return f"{found} is on the block list" if found else _NOTHING


class Contamination(Rule):
    """Texts that hold n-grams of the evaluation sets in use."""

    name = "contamination"
    judges_code = True

    def __init__(self, index: Path | None, n: int, most: int) -> None:
        super().__init__()
        self.path, self.n, self.most = index, n, most
        self.bounds = (Bound(self.name, "evaluation_ngrams", most=most),)

    @cached_property
    def index(self) -> np.ndarray:
        return np.load(self.path, allow_pickle=False) if self.path else np.empty(0, np.uint64)

    def fault(self, draft: Draft) -> str:
        found = hits(draft.text, self.index, self.n) if self.path else 0
        draft.scores["evaluation_ngrams"] = found
        return f"holds {found} n-grams of evaluation sets" if found > self.most else _NOTHING

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "index"}  # workers read it themselves


class Heuristic(Rule):
    """A measure of ordinary text within the range of the text's language (`conf/heuristics`)."""

    def __init__(self, measure: str, ranges: Mapping[str, Range]) -> None:
        super().__init__()
        self.name, self.measure, self.ranges = rule_name(measure), measure, ranges
        self.bounds = tuple(Bound(self.name, measure, one.least, one.most, name) for name, one in ranges.items())

    def applies(self, draft: Draft) -> bool:
        return self.measure in draft.scores and draft.language in self.ranges

    def fault(self, draft: Draft) -> str:
        return self.ranges[draft.language].fault(draft.scores[self.measure])


class CodeLanguage(Rule):
    """Files whose extension names no programming language."""

    name = "code_language"

    def applies(self, draft: Draft) -> bool:
        return draft.code is not None

    def fault(self, draft: Draft) -> str:
        return _NOTHING if draft.code else "no extension of a programming language"


def code_rules_of(thresholds: CodeThresholds | None) -> list[Rule]:
    """The rules of code, where any is read."""
    if thresholds is None:
        return []
    return [CodeLanguage(), *(Heuristic(measure, own) for measure, own in thresholds.ranges().items())]


def heuristics_of(thresholds: Mapping[str, Thresholds]) -> list[Rule]:
    """A rule per measure that any language bounds, in the languages' own orders, one after the other."""
    measures = dict.fromkeys(measure for one in thresholds.values() for measure in one.rules)
    return [
        Heuristic(measure, {name: one.rules[measure] for name, one in thresholds.items() if measure in one.rules})
        for measure in measures
    ]


def long_rules_of(thresholds: Mapping[str, Thresholds], most: int) -> list[Rule]:
    """The rules of long texts, where any language has them."""
    own = {name: one.long.rules for name, one in thresholds.items() if one.long}
    measures = dict.fromkeys(measure for rules in own.values() for measure in rules)
    asked = [Heuristic(m, {name: rules[m] for name, rules in own.items() if m in rules}) for m in measures]
    return [LongLength(most), *asked] if own else []


class Classified(Rule):
    """What a trained classifier takes for its class."""

    def __init__(self, name: str, spec: Labelled, folder: Path | None) -> None:
        super().__init__()
        self.name, self.languages, self.most = f"{CLASSIFIED}{name}", spec.languages, spec.most
        self.piece, self.spoil = spec.piece, spec.spoil
        self.score = f"{name}_score"
        self.path = folder / f"{name}.npy" if folder else None
        self.bounds = tuple(Bound(self.name, self.score, None, spec.most, one) for one in spec.languages or ("",))

    @cached_property
    def classifier(self) -> Classifier:
        if self.path is None:
            raise ValueError(f"{self.name}: not trained")
        return load(self.path)

    def applies(self, draft: Draft) -> bool:
        return draft.poem is None and draft.code is None and (not self.languages or draft.language in self.languages)

    def fault(self, draft: Draft) -> str:
        parts = pieces(draft.key[:LONGEST], self.piece)
        if self.spoil:
            parts = [*map(shape, parts)]
        score = draft.scores[self.score] = sum(map(self.classifier.score, parts)) / len(parts)
        return f"scores {score:.3f}" if score > self.most else _NOTHING

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "classifier"}  # workers read it themselves


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


def _around(text: str, at: int) -> str:
    return re.sub(f"[^{HAN}\\S]", " ", text[max(0, at - 6) : at + 7])
