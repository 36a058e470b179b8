"""Words and Chinese characters with single spaces between, in one pass."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import HAN_RANGES

OTHER, UNDERSCORE, WORD = 0, 1, 2
_SPACE = 32
_SIZE, _LAST_HAN = 0x20000, HAN_RANGES[-1][1]  # characters with an entry of their own; up to where the others are words


@lru_cache(maxsize=1)
def kinds() -> np.ndarray:
    """uint8 [characters]: OTHER, UNDERSCORE, or WORD for letters, digits and Chinese characters, as `re` tells them."""
    table = np.array([WORD if chr(code).isalnum() else OTHER for code in range(_SIZE)], np.uint8)
    for first, last in HAN_RANGES:
        table[first : last + 1] = WORD
    table[ord("_")] = UNDERSCORE
    return table


@kernel
def words_only(codes, table):
    """uint32: the code points of words; a space for every run of others and for every run of underscores between."""
    kept = np.empty(len(codes), np.uint32)
    count, before = 0, WORD
    for code in codes:
        kind = WORD if _SIZE <= code <= _LAST_HAN else OTHER if code >= _SIZE else table[code]
        if kind == WORD:
            kept[count] = code
            count += 1
        elif kind != before:
            kept[count] = _SPACE
            count += 1
        before = kind
    return kept[:count]
