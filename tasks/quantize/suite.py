"""What quantization cost, answer by answer: greedy answers of both models to the beginnings of validation documents.

Top-1 agreement compares tokens that follow the same text; here each model reads on from what it wrote itself, as when
it is served, so one other token changes all that follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from models.engine import Sampling
from models.language_model import LanguageModel
from tasks.validation import ValidationText

Tokens = list[int]


@dataclass(frozen=True)
class Suite:
    """Share of answers that are the same token by token, and the mean share of them that is the same from the start."""

    answers: int
    answers_identical: float
    answers_common_prefix: float

    def rounded(self) -> dict[str, int | float]:
        """Six digits."""
        return {field.name: round(getattr(self, field.name), 6) for field in fields(self)}


def beginnings(text: ValidationText, count: int, longest: int) -> list[Tokens]:
    """Prompts: the first half, at most `longest` tokens, of about `count` documents taken evenly from all of them."""
    first = [window.tokens for window in text.windows if window.first == 0 and len(window.tokens) > 1]
    chosen = np.unique(np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(np.int64))
    return [first[i][: min(len(first[i]) // 2, longest)].tolist() for i in chosen]


def greedy(model: LanguageModel, prompts: Sequence[Tokens], tokens: int) -> list[Tokens]:
    """Each prompt's likeliest answer, of at most `tokens` tokens."""
    return [answer.tokens for answer in model.answer(prompts, [Sampling(0, max_tokens=tokens)] * len(prompts))]


def compare_answers(full: Sequence[Tokens], int4: Sequence[Tokens]) -> Suite:
    """Compare answers to the same prompts, at least one; of a pair the longer one's tokens count."""
    shares = [_common(a, b) / max(len(a), len(b), 1) if a != b else 1.0 for a, b in zip(full, int4, strict=True)]
    same = [a == b for a, b in zip(full, int4, strict=True)]
    return Suite(len(same), sum(same) / len(same), sum(shares) / len(shares))


def _common(a: Tokens, b: Tokens) -> int:
    """How many tokens both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
