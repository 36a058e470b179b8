"""A classifier of texts: logistic regression over hashed runs of words or characters (after Joulin et al. 2017)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BUCKETS = 1 << 18
WORD_RUNS, CHARACTER_RUNS = (1, 2), (1, 2, 3)  # words for text with spaces, characters for Chinese
LONGEST = 20_000  # characters of a text that are looked at
RATE, EPOCHS = 0.5, 5


@dataclass(frozen=True)
class Classifier:
    """weights: float64 [BUCKETS + 1], the last one is the bias."""

    weights: np.ndarray

    def score(self, key: str) -> float:
        """Probability, 0 to 1, that a text of this key (see `Draft.key`), or a piece, is of the positive class."""
        from tasks.corpus.native.logistic import probability

        return float(probability(features_of(key), self.weights))

    def save(self, path: Path) -> None:
        temporary = path.with_name(f".{path.name}")
        np.save(temporary, self.weights)
        temporary.replace(path)


def load(path: Path) -> Classifier:
    """The classifier that `save` wrote."""
    return Classifier(np.load(path, allow_pickle=False))


def train(texts: Sequence[tuple[str, int]]) -> Classifier:
    """Fit (key, label 0 or 1) pairs; both classes weigh the same. Their order is that of a hash of the texts."""
    from tasks.corpus.native.logistic import fit

    ordered = sorted(texts, key=lambda pair: place_of(pair[0]))
    features = [features_of(key) for key, _ in ordered]
    labels = np.array([label for _, label in ordered], np.int64)
    counts = np.maximum(1, np.bincount(labels, minlength=2))
    weights, importance = np.zeros(BUCKETS + 1), len(labels) / (2 * counts)
    ends = np.cumsum([len(own) for own in features]).astype(np.int64)
    fit(np.concatenate([*features, np.empty(0, np.int64)]), ends, labels, importance, RATE, EPOCHS, weights)
    return Classifier(weights)


def pieces(key: str, size: int) -> list[str]:
    """Runs of `size` characters, cut at spaces where there are any; what is left over joins the last. 0 = the whole."""
    cut, start = [], 0
    while size and len(key) - start >= 2 * size:
        space = key.rfind(" ", start + max(1, size // 2), start + size)
        stop = space if space > 0 else start + size
        cut.append(key[start:stop].strip())
        start = stop
    return [*cut, key[start:].strip()]


def features_of(key: str) -> np.ndarray:
    """int64, distinct and sorted: the buckets of a key's runs."""
    from tasks.corpus.dedup.shingles import Shingling, shingling_of

    key = key[:LONGEST]
    words = shingling_of(key, poem=False).words
    runs = (Shingling("", length, words).hashes(key) for length in (WORD_RUNS if words else CHARACTER_RUNS))
    return np.unique(np.concatenate(list(runs)) >> np.uint64(46)).astype(np.int64)


def place_of(key: str) -> str:
    """A text's place in a shuffled order that depends on the text alone."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
