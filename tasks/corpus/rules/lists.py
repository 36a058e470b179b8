"""Rules that look up what lists hold: unsafe words, blocked addresses, n-grams of evaluation sets."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tasks.corpus.contamination import hits
from tasks.corpus.documents import Draft
from tasks.corpus.rules.rule import NOTHING, Bound, Rule
from tasks.corpus.urls import BlockList, block_list
from tasks.corpus.words import WordList


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
            f"{len(found)} words of the lists: {', '.join(sorted(set(found))[:5])}" if density > self.most else NOTHING
        )


class BlockedUrl(Rule):
    """Pages from a domain or address of the block lists."""

    name = "blocked_url"
    judges_code = True

    def __init__(self, lists: Path) -> None:
        super().__init__()
        self.files = tuple(sorted(lists.glob("*.txt")))

    @cached_property
    def blocked(self) -> BlockList:
        return block_list(self.files)

    def fault(self, draft: Draft) -> str:
        found = self.blocked.found(draft.url) if draft.url else ""
        return f"{found} is on the block list" if found else NOTHING

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "blocked"}  # workers read it themselves


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
        return f"holds {found} n-grams of evaluation sets" if found > self.most else NOTHING

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "index"}  # workers read it themselves
