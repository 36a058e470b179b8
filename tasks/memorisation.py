"""How much of a text stands word for word in a corpus: longest common substrings by an index of 4-grams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasks.verse import han

if TYPE_CHECKING:
    import numpy as np

GRAM = 4  # characters of a key: four 16-bit codes fill 64 bits
COUPLET = 10  # characters of the shortest whole couplet, two lines of five


class SubstringIndex:
    """Finds the longest stretch of Chinese characters that a text shares with one document of a corpus.

    Punctuation, spaces and line ends do not count, and no stretch runs over the end of a document. About 12 bytes per
    character of the corpus; 15 million characters are indexed in some seconds.
    """

    def __init__(self, documents: Iterable[str]) -> None:
        import numpy as np

        self._codes = _codes("\0".join(han(document) for document in documents) + "\0" * GRAM)
        keys = _keys(self._codes)
        inside = np.flatnonzero(_unbroken(self._codes))
        self._positions = inside[np.argsort(keys[inside], kind="stable")].astype(np.int32)
        self._keys = keys[self._positions]

    def longest(self, text: str) -> str:
        """The longest common substring, the first of equals; "" when it is shorter than four characters."""
        characters = han(text)
        codes = _codes(characters + "\0" * GRAM)
        best, start = 0, 0
        for at, key in enumerate(_keys(codes)[: max(0, len(characters) - GRAM + 1)]):
            length = self._extent(codes, at, key)
            if length > best:
                best, start = length, at
        return characters[start : start + best]

    def _extent(self, codes: np.ndarray, at: int, key: np.uint64) -> int:
        """Characters from `at` on that stand together in the corpus."""
        import numpy as np

        left, right = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
        places, length = self._positions[left:right].astype(np.int64), 0
        while codes[at + length]:
            places = places[self._codes[places + length] == codes[at + length]]
            if not len(places):
                break
            length += 1
        return length if length >= GRAM else 0


def _codes(text: str) -> np.ndarray:
    import numpy as np

    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _keys(codes: np.ndarray) -> np.ndarray:
    """The 4-gram that starts at each place, as one number (characters beyond 16 bits share their low 16)."""
    import numpy as np

    low = (codes & 0xFFFF).astype(np.uint64)
    n = max(0, len(codes) - GRAM + 1)
    return sum((low[i : n + i] << np.uint64(48 - 16 * i) for i in range(GRAM)), np.zeros(n, np.uint64))


def _unbroken(codes: np.ndarray) -> np.ndarray:
    """Whether the 4-gram that starts at each place lies within one document."""
    import numpy as np

    n = max(0, len(codes) - GRAM + 1)
    return np.logical_and.reduce([codes[i : n + i] != 0 for i in range(GRAM)])
