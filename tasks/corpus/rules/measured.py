"""Rules that look at measures of prose and code, within the ranges of their languages."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.corpus.code.thresholds import CodeThresholds
from tasks.corpus.documents import Draft
from tasks.corpus.heuristics.measures import rule_name
from tasks.corpus.heuristics.thresholds import Range, Thresholds
from tasks.corpus.rules.rule import NOTHING, Bound, Rule
from tasks.corpus.rules.text import LongLength
from tasks.corpus.table import CODE_RULE


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

    name = CODE_RULE

    def applies(self, draft: Draft) -> bool:
        return draft.code is not None

    def fault(self, draft: Draft) -> str:
        return NOTHING if draft.code else "no extension of a programming language"


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


def code_rules_of(thresholds: CodeThresholds | None) -> list[Rule]:
    """The rules of code, where any is read."""
    if thresholds is None:
        return []
    return [CodeLanguage(), *(Heuristic(measure, own) for measure, own in thresholds.ranges().items())]
