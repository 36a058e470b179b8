"""Long texts, judged window by window, as InternLM2 chose its long data: by length, then by statistics.

Cai et al. 2024, section 3.1.3; the overlap of neighbouring windows stands where they compare a model's perplexities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tasks.corpus.heuristics.measures import Measured, measure

if TYPE_CHECKING:
    from tasks.corpus.heuristics.thresholds import Range, Thresholds


def measure_long(text: str, thresholds: Thresholds, filter_lines: bool) -> Measured:
    """The text, without the lines that the language's filter takes out of each window, and its measures.

    failing_windows: share of the windows that break a range of the language's rules. repeated_windows: share of the
    windows' distinct 5-grams that an earlier window holds. connectives: per 1,000 words. coherence: mean Jaccard
    similarity of neighbouring windows' words (Chinese: pairs of characters).
    """
    assert thresholds.long is not None
    kept, failing, words, joining = [], 0, 0.0, 0
    grams: list[np.ndarray] = []
    units: list[np.ndarray] = []
    for window, end in windows(text, thresholds.long.window):
        clean, scores = measure(window, thresholds)
        kept.append((clean if filter_lines else window) + end)
        failing += _fails(scores, thresholds.rules)
        words += scores.get("words", 0)
        joining += _connectives(thresholds.long.connectives).subn("", window)[1]
        grams.append(_distinct(window, thresholds.segmenter, 5))
        units.append(_distinct(window, thresholds.segmenter, 2 if thresholds.segmenter == "chinese" else 1))
    scores = {
        "long_characters": len(text),
        "failing_windows": failing / max(1, len(kept)),
        "repeated_windows": _repeated(grams),
        "connectives": 1000 * joining / max(1.0, words),
        "coherence": _coherence(units),
    }
    return Measured("".join(kept).rstrip("\n"), scores)


def windows(text: str, size: int) -> Iterator[tuple[str, str]]:
    """Runs of at most `size` characters, cut behind the last line feed of their second half, and that line feed."""
    start = 0
    while start < len(text):
        stop = min(len(text), start + size)
        line = text.rfind("\n", start + size // 2, stop) if stop < len(text) else -1
        if line >= 0:
            yield text[start:line], "\n"
            start = line + 1
        else:
            yield text[start:stop], ""
            start = stop


def _fails(scores: Mapping[str, float], rules: Mapping[str, Range]) -> bool:
    return any(name in scores and one.fault(scores[name]) for name, one in rules.items())


@lru_cache(maxsize=16)
def _connectives(words: tuple[str, ...]) -> re.Pattern[str]:
    found = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.compile(rf"\b(?:{found})\b" if found.isascii() else found or r"(?!)", re.IGNORECASE)


def _distinct(window: str, segmenter: str, length: int) -> np.ndarray:
    from tasks.corpus.dedup.shingles import Shingling

    return np.unique(Shingling("", length, words=segmenter == "words").hashes(window.lower()))


def _repeated(grams: list[np.ndarray]) -> float:
    """1 - distinct ones of all windows / their sum."""
    whole = sum(map(len, grams))
    return 1 - len(np.unique(np.concatenate(grams))) / whole if whole else 0.0


def _coherence(units: list[np.ndarray]) -> float:
    from tasks.corpus.dedup.shingles import jaccard

    shared = [jaccard(a, b) for a, b in pairwise(units)]
    return sum(shared) / len(shared) if shared else 1.0
