"""What a rule is, and the numbers it goes by."""

from __future__ import annotations

import re
from typing import NamedTuple

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from tasks.corpus.documents import Draft
from tasks.verse import HAN

Verdict = bool | tuple[bool, str]
NOTHING = ""  # is wrong


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


def around(text: str, at: int) -> str:
    """The characters next to a place in a text, on one line."""
    return re.sub(f"[^{HAN}\\S]", " ", text[max(0, at - 6) : at + 7])
