"""Training of the configured classifiers, with an evaluation on texts that training does not see."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.corpus.classify.labelled import Labelled
from tasks.corpus.classify.model import Classifier, pieces, place_of, train
from tasks.corpus.classify.spoil import shape, spoiled
from tasks.corpus.documents import Malformed, draft
from tasks.errors import StageError
from tasks.sources import Record, SourceRef, open_source

HELD_OUT = 5  # every fifth text, by a hash of its content
LEAST = 20  # texts of either class
PIECES = 20  # of one text that are examples; long ones would else be most of what is learnt


def trained(specs: Mapping[str, Labelled], folder: Path, simplify: bool) -> dict[str, dict[str, Any]]:
    """Train what is not there yet as folder/NAME.npy; by name, how each does on its held-out texts."""
    folder.mkdir(parents=True, exist_ok=True)
    results, texts = {}, Texts(simplify)
    for name, spec in specs.items():
        told = folder / f"{name}.json"
        if not told.exists():
            model, result = _trained(name, spec, texts)
            model.save(folder / f"{name}.npy")
            told.with_suffix(".tmp").write_text(json.dumps(result))
            told.with_suffix(".tmp").replace(told)
        results[name] = json.loads(told.read_text())
    return results


def _trained(name: str, spec: Labelled, texts: Texts) -> tuple[Classifier, dict[str, Any]]:
    negative = _examples(spec.negative, texts, spec.piece)
    positive = spoiled(negative) if spec.spoil else _examples(spec.positive, texts, spec.piece)
    if spec.spoil:
        negative, positive = [*map(shape, negative)], [*map(shape, positive)]
    keys = dict.fromkeys(negative, 0) | dict.fromkeys(positive, 1)
    known = {0: [], 1: []}
    held = {0: [], 1: []}
    for key, label in keys.items():
        (held if int(place_of(key), 16) % HELD_OUT == 0 else known)[label].append(key)
    for label, side in ((1, "positive"), (0, "negative")):
        if len(known[label]) < LEAST or not held[label]:
            raise StageError(
                f"corpus.classifiers.{name}.{side}: {len(known[label]) + len(held[label])} different texts; expected "
                f"more than {LEAST}; add a source"
            )
    model = train([(key, label) for label in (0, 1) for key in known[label]])
    scores = [np.array([model.score(key) for key in held[label]]) for label in (0, 1)]
    return model, {"trained_on": {"negative": len(known[0]), "positive": len(known[1])}, **evaluation(*scores)}


def evaluation(negative: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Area under the ROC curve, and precision and recall from some scores on, for scores of both classes."""
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left") + np.searchsorted(order, positive, "right")
    rows = []
    for bound in (0.5, 0.8, 0.9, 0.95, 0.99):
        hits, false = int((positive > bound).sum()), int((negative > bound).sum())
        precision = round(hits / (hits + false), 4) if hits + false else None
        rows.append({"above": bound, "precision": precision, "recall": round(hits / len(positive), 4)})
    area = round(float(below.sum()) / (2 * len(negative) * len(positive)), 4)
    return {"held_out": {"negative": len(negative), "positive": len(positive)}, "auc": area, "at": rows}


def _examples(references: Iterable[SourceRef], texts: Texts, piece: int) -> list[str]:
    return [part for ref in references for key in texts.of(ref) for part in pieces(key, piece)[:PIECES]]


class Texts:
    """The keys of labelled sources, each read once however many classifiers learn from it."""

    def __init__(self, simplify: bool) -> None:
        self.simplify = simplify
        self._read: dict[SourceRef, list[str]] = {}

    def of(self, reference: SourceRef) -> list[str]:
        if reference not in self._read:
            self._read[reference] = list(filter(None, self._keys(reference)))
        return self._read[reference]

    def _keys(self, reference: SourceRef) -> Iterator[str]:
        source = open_source(reference)
        for part in source.parts.values():
            for record in source.records_in(part):
                if isinstance(record, Record):
                    try:
                        yield draft(record.data, self.simplify, code=part.is_code).key
                    except Malformed:
                        continue  # what cannot be read as a text teaches nothing; `fullchain data check` tells of it
