"""What is answered depends on the request alone: not on company, guesses, known prefixes, chunks or preemptions."""

import random

import pytest

from models.engine import Limits, OnnxSession, Sampling, Scheduler, generate
from tests import tiny

SHARED = list(range(20, 110))


def open_session(products: str, drafts: bool) -> OnnxSession:
    return OnnxSession(tiny.int4_model(), slots=6, length=256, threads=1, products=products, drafts=drafts)


@pytest.fixture(scope="module", params=["blockwise", "int8", "mixed"])
def drafting(request) -> OnnxSession:
    return open_session(request.param, drafts=True)


@pytest.fixture(scope="module", params=["int8", "int8, without drafts", "blockwise", "mixed"])
def any_session(request) -> OnnxSession:
    products, _, without = request.param.partition(", ")
    return open_session(products, drafts=not without)


def mixed(count: int) -> tuple[list[list[int]], list[Sampling]]:
    """Prompts of all lengths, some with a common beginning, some that repeat themselves; mostly greedy."""
    numbers = random.Random(7)
    prompts, how = [], []
    for place in range(count):
        words = [numbers.randrange(8, 500) for _ in range(numbers.choice([1, 2, 5, 17, 40, 97]))]
        prompts.append([words, SHARED + words, words * 2][place % 3][:200])
        temperature = 0.8 if place % 10 == 9 else 0
        how.append(Sampling(temperature=temperature, seed=place, max_tokens=numbers.choice([1, 3, 12, 24])))
    return prompts, how


def test_two_hundred_answers_are_the_same_however_they_are_served(any_session, tokenizer):
    """A session that takes no drafts is not given any: its guesses count for nothing."""
    prompts, how = mixed(200)
    alone = [generate(any_session, tokenizer, [p], [s])[0].tokens for p, s in zip(prompts, how, strict=True)]
    ways = {
        "batched": Limits(),
        "with guesses": Limits(guess=6),
        "in small chunks": Limits(chunk=32, guess=3),
        "with known prefixes": Limits(chunk=64, guess=4, prefix=600),
        "with too little memory": Limits(guess=4, positions=300, prefix=64),
    }
    for way, limits in ways.items():
        answers = [answer.tokens for answer in generate(any_session, tokenizer, prompts, how, limits)]
        assert answers == alone, way


def test_the_ways_are_taken(drafting, tokenizer):
    """The comparison above compares something: guesses are right at times, prefixes are found, requests give way."""
    prompts, how = mixed(60)
    scheduler = Scheduler(drafting, tokenizer, Limits(guess=6, positions=300, prefix=100))
    ends = []
    for prompt, sampling in zip(prompts, how, strict=True):
        scheduler.waiting.append(scheduler.prepare(prompt, sampling, ends.append))
    while scheduler.busy:
        scheduler.step()
    assert scheduler.guessed_right > 0
    assert scheduler.preempted > 0
    assert any(getattr(end, "cached_tokens", 0) for end in ends)
    assert scheduler.prefixes.positions <= 100
