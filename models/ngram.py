"""A trigram model with interpolated Kneser-Ney smoothing: the baseline that any network must clear.

Ney, Essen and Kneser (1994); the interpolated form and the estimate of the discounts, n1 / (n1 + 2 n2), are those of
Chen and Goodman (1999, sections 2.7 and 3).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Counts:
    """How often each n-gram occurs: sorted keys, and their counts. A key reads the n-gram as a number in base V."""

    keys: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray) -> "Counts":
        return cls(*np.unique(keys, return_counts=True))

    @classmethod
    def summed(cls, keys: np.ndarray, values: np.ndarray) -> "Counts":
        """Values added up per key; `keys` are sorted."""
        unique, starts = np.unique(keys, return_index=True)
        return cls(unique, np.add.reduceat(values, starts))

    def __getitem__(self, keys: np.ndarray) -> np.ndarray:
        """Counts of `keys`, 0 where never seen."""
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[found] == keys, self.values[found], 0)

    @cached_property
    def discount(self) -> float:
        """n1 / (n1 + 2 n2), from how many n-grams occur once and twice; 0.5 where that says nothing."""
        once, twice = (self.values == 1).sum(), (self.values == 2).sum()
        return float(once / (once + 2 * twice)) if once and twice else 0.5


class Trigram:
    """p(w | u v) over a vocabulary of V tokens, learnt from a stream of documents that each begin with `separator`.

    The context of a document's first token is two separators: nothing is learnt across documents.
    """

    def __init__(self, stream: np.ndarray, vocab_size: int, separator: int):
        if vocab_size**3 > np.iinfo(np.int64).max:
            raise ValueError(f"vocab_size: {vocab_size} is too large for 64-bit trigram keys; at most 2,097,151")
        self.size, self.separator = vocab_size, separator
        u, v, w = self._contexts(stream)
        self._trigrams = Counts.of((u * vocab_size + v) * vocab_size + w)
        # Lower orders count in how many contexts an n-gram occurs, not how often.
        self._bigrams = Counts.of(self._trigrams.keys % vocab_size**2)
        self._unigrams = Counts.of(self._bigrams.keys % vocab_size)
        pairs, singles = self._trigrams.keys // vocab_size, self._bigrams.keys // vocab_size
        self._pair_total = Counts.summed(pairs, self._trigrams.values)
        self._pair_types = Counts.of(pairs)
        self._single_total = Counts.summed(singles, self._bigrams.values)
        self._single_types = Counts.of(singles)

    def log_probs(self, document: np.ndarray) -> np.ndarray:
        """Natural log-probability of every token of `document` [T] after the first, [T - 1]."""
        u, v, w = self._contexts(document)
        base = self._level(self._unigrams, w, self._unigrams.values.sum(), len(self._unigrams.keys), 1 / self.size)
        pair = v * self.size + w
        base = self._level(self._bigrams, pair, self._single_total[v], self._single_types[v], base)
        context = u * self.size + v
        key = context * self.size + w
        return np.log(self._level(self._trigrams, key, self._pair_total[context], self._pair_types[context], base))

    def _contexts(self, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(u, v, w) of every token w after the first."""
        stream = stream.astype(np.int64)
        w, v = stream[1:], stream[:-1]
        u = np.concatenate([[self.separator], stream[:-2]])[: len(v)]
        return np.where(v == self.separator, self.separator, u), v, w

    @staticmethod
    def _level(counts: Counts, keys: np.ndarray, total, types, lower) -> np.ndarray:
        """One order: the discounted count, and the mass so freed given to the order below."""
        total = np.asarray(total, np.float64)
        known = np.maximum(total, 1)
        kept = np.maximum(counts[keys] - counts.discount, 0) / known
        freed = np.where(total > 0, counts.discount * types / known, 1.0)
        return kept + freed * lower
