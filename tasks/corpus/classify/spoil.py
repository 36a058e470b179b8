"""Text that is not fluent, made of text that is, for want of labelled data: it stands for damage, not for bad style."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.verse import han

NEARBY = 10


def spoiled(keys: Sequence[str]) -> list[str]:
    """Each text with its units shuffled, in turn all of them and within runs of ten. A unit is a word, or a Chinese
    character. The same texts give the same result."""
    dice = random.Random(0)
    return [_shuffled(key, NEARBY if i % 2 else len(key), dice) for i, key in enumerate(keys)]


def shape(key: str) -> str:
    """The key with each word of more than three letters as its last two: order shows in endings and small words, and
    there are too many words to learn the pairs of. Chinese stays as it is."""
    return " ".join(word if len(word) <= 3 or han(word) else f"~{word[-2:]}" for word in key.split(" "))


def _shuffled(key: str, run: int, dice: random.Random) -> str:
    chinese = 2 * len(han(key)) > len(key)
    units = list(key) if chinese else key.split()
    runs = (units[start : start + run] for start in range(0, len(units), run))
    return ("" if chinese else " ").join(unit for one in runs for unit in dice.sample(one, len(one)))
