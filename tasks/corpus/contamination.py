"""Texts that hold parts of an evaluation set (Brown et al. 2020, appendix C: 13-grams)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tasks.corpus.normalise import normalise
from tasks.sources import Record

SHORTEST = 8  # units; shorter items are everyday phrases
_UNIT = re.compile(r"[\u3400-\u9fff]|[^\W\d_]+|\d+")  # a Chinese character, a word, a number
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def index_of(records: Iterable[Record], n: int, simplify: bool) -> np.ndarray:
    """uint64, sorted: the hashes of every n-gram of every text in the records; of a shorter text, all of it is one.

    Texts count as the corpus has them: as they stand, which is how code is read, and normalised, as all else is.
    """
    found = [
        grams(form, min(n, count))
        for record in records
        for text in _texts(record.data)
        for form in {text, normalise(text, simplify)}
        if (count := len(_UNIT.findall(form))) >= SHORTEST
    ]
    return np.unique(np.concatenate([*found, np.empty(0, np.uint64)]))


def grams(text: str, n: int) -> np.ndarray:
    """uint64 [grams]: a hash of each n units in a row; empty when there are fewer."""
    units = np.array([zlib.crc32(unit.encode()) for unit in _UNIT.findall(text.lower())], np.uint64)
    windows = len(units) - n + 1
    if windows < 1:
        return np.empty(0, np.uint64)
    mixed = np.full(windows, n, np.uint64)
    for i in range(n):
        mixed = mixed * _FACTOR + units[i : windows + i]
    return mixed ^ (mixed >> np.uint64(29))


def hits(text: str, index: np.ndarray, n: int) -> int:
    """How many different n-grams of the index, or short items of it, a text holds."""
    if not len(index):
        return 0
    own = np.unique(np.concatenate([grams(text, size) for size in range(SHORTEST, n + 1)]))
    at = np.searchsorted(index, own)
    return int(np.count_nonzero(index[np.minimum(at, len(index) - 1)] == own))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
