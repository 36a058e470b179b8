"""From one row of logits to one token: grammar, bias, penalties, temperature, top-k, top-p, min-p, own seeds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.engine.grammar import Grammar, Matcher

NEGLIGIBLE = 40.0  # nats below the likeliest token, after temperature: weights under 5e-18 are lost in any sum


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens and when to stop. Raises ValueError that names the field and its bound.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 keep everything. `min_p` keeps tokens at least that fraction as
    likely as the likeliest (Nguyen et al. 2024). `repetition_penalty` divides positive and multiplies negative logits
    of tokens seen in prompt and answer (Keskar et al. 2019, section 4.1). The other two penalties are OpenAI's,
    subtracted per occurrence in the answer, or once. `logit_bias` is added to the logits of its tokens. `grammar` is
    what the answer must match. `ignore_end` goes on after tokens that end an answer. `log_probs` is how many
    alternatives to report per token; None reports none.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    max_tokens: int = 0  # 0: as many as fit
    stop: tuple[str, ...] = ()
    seed: int | None = None
    log_probs: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: Grammar | None = None
    ignore_end: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (0, 2),
            "top_k": (0, 1_000_000),
            "min_p": (0, 1),
            "repetition_penalty": (0.01, 10),  # less makes infinities of logits
            "frequency_penalty": (-2, 2),
            "presence_penalty": (-2, 2),
            "max_tokens": (0, 10_000_000),
            "log_probs": (0, 20),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}: {value} is out of range; expected {low} to {high}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is out of range; expected above 0, up to 1")
        if any(not -100 <= bias <= 100 for bias in self.logit_bias.values()):
            raise ValueError("logit_bias: a bias is out of range; expected -100 to 100")
        if any(not text for text in self.stop):
            raise ValueError("stop: a stop string is empty; expected at least one character")


@dataclass(frozen=True)
class Choice:
    """A chosen token, its log-probability under the unchanged model, and the likeliest alternatives when asked for."""

    token: int
    log_prob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


class Sampler:
    """The sampling state of one request: its own random numbers and counts, so that no other request can change it."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], matcher: Matcher | None = None):
        self.sampling, self.matcher = sampling, matcher
        self._random = np.random.default_rng(sampling.seed)
        self._prompt = np.unique(np.asarray(prompt, np.int64))
        self._counts: Counter[int] = Counter()
        self._bias = tuple(np.array(list(part)) for part in (sampling.logit_bias, sampling.logit_bias.values()))
        self._plain = (
            sampling.temperature == 0 and sampling.log_probs is None and not sampling.logit_bias and matcher is None
            and not self._penalises
        )  # fmt: skip

    @property
    def _penalises(self) -> bool:
        sampling = self.sampling
        return sampling.repetition_penalty != 1 or bool(sampling.frequency_penalty or sampling.presence_penalty)

    def choose(self, logits: np.ndarray) -> Choice:
        """Choose from `logits` [vocabulary]; the same seed and logits give the same token."""
        if self._plain:
            return Choice(int(logits.argmax()))
        adjusted, sampling = self._adjusted(logits), self.sampling
        if sampling.temperature == 0:
            token = int(adjusted.argmax())
        else:
            kept, weights = candidates(adjusted, sampling)
            mass = np.cumsum(weights)
            token = int(kept[min(np.searchsorted(mass, self._random.random() * mass[-1], "right"), len(kept) - 1)])
        self._counts[token] += 1
        if self.matcher:
            self.matcher.take(token)
        return Choice(token) if sampling.log_probs is None else _with_log_probs(token, logits, sampling.log_probs)

    def _adjusted(self, logits: np.ndarray) -> np.ndarray:
        if self._penalises:
            logits = self._penalised(logits)
        if self.sampling.logit_bias:
            logits = logits.copy()
            logits[self._bias[0]] += self._bias[1]
        return logits if self.matcher is None else np.where(self.matcher.allowed(), logits, -np.inf)

    def _penalised(self, logits: np.ndarray) -> np.ndarray:
        sampling, logits = self.sampling, logits.copy()
        answered = np.fromiter(self._counts, np.int64, len(self._counts))
        seen = np.union1d(self._prompt, answered)
        penalty = sampling.repetition_penalty
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
        counts = np.fromiter(self._counts.values(), np.float64, len(self._counts))
        logits[answered] -= counts * sampling.frequency_penalty + sampling.presence_penalty
        return logits


def candidates(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that may be drawn and their weights: temperature, then top-k, then top-p, then min-p.

    Ties at the edge of top-k or top-p are broken by the lower token id, so the result never depends on sort internals.
    """
    top = logits.max()
    kept = np.flatnonzero(logits >= top - NEGLIGIBLE * sampling.temperature)
    scaled = (logits[kept].astype(np.float64) - top) / sampling.temperature
    if 0 < sampling.top_k < len(kept):
        edge = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
        above, at_edge = np.flatnonzero(scaled > edge), np.flatnonzero(scaled == edge)
        chosen = np.sort(np.concatenate([above, at_edge[: sampling.top_k - len(above)]]))
        kept, scaled = kept[chosen], scaled[chosen]
    weights = np.exp(scaled)
    if sampling.top_p < 1:
        chosen = _nucleus(weights / weights.sum(), sampling.top_p)
        kept, weights = kept[chosen], weights[chosen]
    if sampling.min_p > 0:
        likely = weights >= sampling.min_p * weights.max()
        kept, weights = kept[likely], weights[likely]
    return kept, weights


def _nucleus(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """Indices of the smallest set of likeliest tokens that holds `top_p` of the mass (Holtzman et al. 2020).

    Tokens below (1 - top_p) / n hold less than 1 - top_p together, so none of them is in the set: only the rest, a few
    hundred of a large vocabulary, is sorted.
    """
    worth = np.flatnonzero(probabilities >= (1 - top_p) / len(probabilities))
    order = worth[np.argsort(-probabilities[worth], kind="stable")]
    needed = int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1
    return np.sort(order[:needed])


def _with_log_probs(token: int, logits: np.ndarray, count: int) -> Choice:
    shifted = logits.astype(np.float64) - logits.max()
    log_probs = shifted - np.log(np.exp(shifted).sum())
    best = np.argsort(-log_probs, kind="stable")[:count]
    return Choice(token, float(log_probs[token]), tuple((int(i), float(log_probs[i])) for i in best))
