import queue
from collections import deque

import pytest

from models.engine import Draining, Engine, Finished, QueueFull, Sampling
from tasks.chat import encode_prompt
from tests import tiny
from tests.serving import wait_until

ENDLESS = Sampling(temperature=0, max_tokens=600)


@pytest.fixture
def engine(session, tokenizer):
    with Engine(session, tokenizer, queue=3) as engine:
        yield engine


@pytest.fixture
def endless(tokenizer):
    """A prompt whose answer goes on for long: the tiny model never learnt it."""
    tokenizer.stop_ids, kept = frozenset(), tokenizer.stop_ids
    yield [9, 10, 11]
    tokenizer.stop_ids = kept


def ask(engine, prompt, sampling):
    events = queue.SimpleQueue()
    request = engine.scheduler.prepare(prompt, sampling, events.put)
    engine.submit(request)
    return request, events


def finished(events) -> Finished:
    while not isinstance(event := events.get(timeout=30), Finished):
        pass
    return event


def test_requests_from_outside_are_answered(engine, tokenizer):
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": tiny.GREETING}])
    _, events = ask(engine, prompt, Sampling(temperature=0))
    text = ""
    while not isinstance(event := events.get(timeout=30), Finished):
        text += event.text
    assert text + event.text == tiny.GREETED
    assert (event.reason, event.prompt_tokens) == ("stop", len(prompt))


def test_a_full_queue_refuses_and_a_cancelled_request_makes_room(engine, session, endless):
    running = []
    with pytest.raises(QueueFull):
        for _ in range(session.slots + 10):
            running.append(ask(engine, endless, ENDLESS))
    for request, _ in running:
        request.cancel()
    assert {finished(events).reason for _, events in running} == {"cancelled"}
    _, events = ask(engine, endless, Sampling(max_tokens=1))
    assert finished(events).reason == "length"


def test_a_draining_engine_finishes_what_it_has_and_takes_nothing_new(engine, endless):
    _, events = ask(engine, endless, Sampling(temperature=0, max_tokens=20))
    engine.drain()
    with pytest.raises(Draining):
        ask(engine, endless, ENDLESS)
    assert finished(events).answer_tokens == 20


def test_an_engine_is_not_idle_while_a_request_goes_from_the_queue_to_a_slot(engine, endless):
    seen = []

    class Queue(deque):
        def popleft(self):
            taken = super().popleft()
            seen.append((engine.running + engine.waiting, engine.idle))
            return taken

    wait_until(lambda: engine.idle)
    engine.scheduler.waiting = Queue()
    _, events = ask(engine, endless, Sampling(max_tokens=1))
    assert finished(events).answer_tokens == 1
    assert seen == [(0, False)]
    wait_until(lambda: engine.idle)


def test_closing_ends_what_is_under_way(session, tokenizer, endless):
    engine = Engine(session, tokenizer)
    _, events = ask(engine, endless, ENDLESS)
    engine.close()
    assert finished(events).reason in ("error", "length")


def test_a_failing_step_ends_its_requests_and_the_next_are_served(session, tokenizer, endless, monkeypatch):
    with Engine(session, tokenizer) as engine:
        monkeypatch.setattr(session, "vocab_size", -1)
        _, events = ask(engine, endless, ENDLESS)
        assert finished(events).reason == "error"
        monkeypatch.undo()
        _, events = ask(engine, endless, Sampling(max_tokens=2))
        assert finished(events).answer_tokens == 2
