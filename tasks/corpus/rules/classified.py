"""The rule that looks at what a trained classifier says."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.corpus.classify.labelled import Labelled
from tasks.corpus.classify.model import LONGEST, Classifier, load, pieces
from tasks.corpus.classify.spoil import shape
from tasks.corpus.documents import Draft
from tasks.corpus.rules.rule import NOTHING, Bound, Rule
from tasks.corpus.table import CLASSIFIED


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
        return f"scores {score:.3f}" if score > self.most else NOTHING

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "classifier"}  # workers read it themselves
