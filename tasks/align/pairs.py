"""Pairs of a better and a worse answer: from the model's own answers judged by rule, and from preference sources."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.align.answers import answers
from tasks.align.judge import CLEARLY, WELL_FORMED, answer_quality
from tasks.align.stage import AlignConfig
from tasks.conversations import preference
from tasks.output import Output
from tasks.poems import regular_poems, training_poems
from tasks.poet_dialogues import user
from tasks.poet_requests import Request, compose, continuation

CONTINUED = 0.25  # share of the requests that ask for a continuation


@dataclass(frozen=True)
class Pair:
    """A conversation up to the answer, and two answers to it."""

    id: str
    messages: list[dict[str, Any]]
    chosen: str
    rejected: str
    tools: list[dict[str, Any]] = field(default_factory=list)
    origin: str = "source"


def poem_requests(cfg: AlignConfig, corpus: Path) -> list[tuple[str, Request]]:
    """(id, request) around training poems that are near no validation poem."""
    held_out = list(regular_poems(corpus, "validation"))
    poems = training_poems(corpus, held_out, cfg.poem_requests, "align")
    draw = random.Random(cfg.seed)
    return [(poem.id, (continuation if draw.random() < CONTINUED else compose)(poem, draw)) for poem in poems]


def poem_pairs(cfg: AlignConfig, out: Output, model: Path, requests: list[tuple[str, Request]]) -> Iterator[Pair]:
    """The model's best answer to each request over its worst; over the worst stands the real poem where all are broken.

    Both answers are the model's own wherever that can be: pushing down what it would never say (poems with a rule
    broken by hand, say) moves its probability to anywhere, and cost a third of the well-formed answers when we tried.
    Requests whose answers are all about as good give no pair.
    """
    count = cfg.sample.answers
    texts = answers(cfg, out, model, [request.prompt for _, request in requests for _ in range(count)])
    for number, (name, request) in enumerate(requests):
        own = texts[number * count : (number + 1) * count]
        ranked = sorted((answer_quality(request, text), text) for text in own if text)
        if not ranked:
            continue
        (low, worst), (high, best) = ranked[0], ranked[-1]
        messages = [user(request.prompt)]
        if high < WELL_FORMED and worst != request.answer:
            yield Pair(name, messages, request.answer, worst, origin="poem over own")
        elif high - low >= CLEARLY:
            yield Pair(name, messages, best, worst, origin="own over own")


def source_pair(name: str, record: dict[str, Any]) -> Pair:
    """A preference record as a pair; raises NotAConversation as `preference` does."""
    messages, chosen, rejected, tools = preference(name, record)
    return Pair(name, messages, chosen, rejected, tools)


def records(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Pairs as JSON objects."""
    return [asdict(pair) for pair in pairs]
