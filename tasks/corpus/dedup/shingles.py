"""What texts are compared by: runs of characters or of words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.verse import han


@dataclass(frozen=True)
class Shingling:
    """How a text's key is cut: into runs of `length` characters, or of words and Chinese characters, without spaces."""

    name: str
    length: int
    words: bool = False

    def hashes(self, key: str) -> np.ndarray:
        """uint64 [shingles], repeated ones included; a shorter text is one shingle."""
        from tasks.corpus.native import code_points
        from tasks.corpus.native.shingles import shingle_hashes

        return shingle_hashes(code_points(key), self.words, self.length)


POEM = Shingling("han2", 2)  # verse is short: bigrams
CHINESE = Shingling("han5", 5)
WORDS = Shingling("words5", 5, words=True)
CHINESE_SHARE = 0.2  # of a key's characters: a clause of ten and a word or two say as much as forty in English
SHINGLINGS = {shingling.name: shingling for shingling in (POEM, CHINESE, WORDS)}


def least_similarity(poem: float, text: float) -> dict[str, float]:
    """From which similarity a text is a near duplicate, by its shingling's name."""
    return {POEM.name: poem, CHINESE.name: text, WORDS.name: text}


def shingling_of(key: str, poem: bool) -> Shingling:
    """Bigrams of characters for poems, runs of five for other text: of characters where Chinese, else of words."""
    if poem:
        return POEM
    return CHINESE if len(han(key)) > CHINESE_SHARE * len(key) else WORDS


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Shared over all shingles, of two sorted arrays of distinct hashes."""
    from tasks.corpus.native.shingles import shared

    common = shared(a, b)
    return common / (len(a) + len(b) - common) if common else 0.0
