"""How often the rules drop what a person would keep: a random draw to label, and the share with its interval."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import StageError

LABELS = ("keep", "drop")
Z = 1.959964  # the normal distribution's 97.5% quantile: 95% intervals


class Share(NamedTuple):
    """A share of labelled records, with its 95% interval."""

    wrong: int
    labelled: int
    share: float
    low: float
    high: float


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95% score interval of a share (Wilson 1927); (0, 1) when nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    share, squared = hits / trials, Z * Z
    middle = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = Z * math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2)) / (1 + squared / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def draw(corpus: Path, size: int) -> list[dict[str, Any]]:
    """Dropped records drawn at random, to be labelled: `label` is to become keep or drop.

    The corpus holds 300 such; a smaller draw is the first of them, which is random, too.

    Raises:
        StageError: the artifact holds no sample, or nothing was dropped.
    """
    path = corpus / "sample.jsonl"
    if not path.is_file():
        raise StageError(f"{corpus.name}: no sample.jsonl; expected a corpus artifact; build it again")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    drawn = [{"id": r["id"], "reason": r["reason"], "label": "", "detail": r["detail"], "text": r["text"]}
             for r in lines if r["draw"] == "audit"]  # fmt: skip
    if not drawn:
        raise StageError(f"{corpus.name}: no readable record was dropped, so there is nothing to audit")
    return drawn[:size]


def judged(labels: Path) -> dict[str, Share]:
    """The false-drop rate of a labelled draw: in all, and by the rule that dropped.

    Raises:
        StageError: a line is no JSON object or has another label; records without a label do not count.
    """
    groups: dict[str, list[bool]] = defaultdict(list)
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            label, reason = str(row.get("label", "")), str(row["reason"])
        except (ValueError, AttributeError, KeyError) as error:
            raise StageError(
                f"{labels.name}, line {number}: not a record of `fullchain data audit`: {error}"
            ) from error
        if label and label not in LABELS:
            raise StageError(f"{labels.name}, line {number}: label {label!r}; expected keep, drop or nothing")
        if label:
            groups["all"].append(label == "keep")
            groups[reason].append(label == "keep")
    if not groups:
        raise StageError(f"{labels.name}: no record has a label; write keep or drop into `label` and run again")
    return {name: _share(wrong) for name, wrong in groups.items()}


def _share(wrong: list[bool]) -> Share:
    low, high = wilson(sum(wrong), len(wrong))
    return Share(sum(wrong), len(wrong), sum(wrong) / len(wrong), low, high)
