"""Embeddings wait, run and end like all other requests."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from models.engine import Finished, Limits, Sampling, Scheduler
from tests.serving import serving, wait_until
from tests.tasks.serve.test_load import slow

TEXTS = [list(range(8 + n, 8 + n + length)) for n, length in enumerate((1, 40, 300, 129, 3))]
LONG = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 700, "ignore_eos": True}


def post(url, texts, **options) -> httpx.Response:
    return httpx.post(f"{url}/v1/embeddings", json={"model": "tiny", "input": texts}, **options)


def test_many_texts_are_one_request(url):
    reply = post(url, TEXTS * 50)
    assert reply.status_code == 200
    data = reply.json()["data"]
    assert [item["index"] for item in data] == list(range(250))
    assert [item["embedding"] for item in data[:5]] == [item["embedding"] for item in data[-5:]]
    assert reply.json()["usage"]["prompt_tokens"] == 50 * sum(map(len, TEXTS))


def test_a_full_queue_refuses_texts_too(monkeypatch):
    with serving(slots=1, queue=1) as (url, service), ThreadPoolExecutor(2) as pool:
        slow(service, monkeypatch)
        waiting = [pool.submit(httpx.post, f"{url}/v1/completions", json=LONG, timeout=3) for _ in range(2)]
        wait_until(lambda: service.engine.running + service.engine.waiting == 2)
        refused = post(url, TEXTS)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert all(isinstance(answer.exception(), httpx.ReadTimeout) for answer in waiting)


def test_leaving_and_lateness_end_the_reading(monkeypatch):
    with serving(slots=2, timeout_s=0.5) as (url, service):
        slow(service, monkeypatch)
        assert post(url, TEXTS * 50).json()["error"]["code"] == "timeout"
        wait_until(lambda: service.engine.running == service.engine.waiting == 0)
        with pytest.raises(httpx.ReadTimeout):
            post(url, TEXTS * 50, timeout=0.2)
        wait_until(lambda: service.engine.running == service.engine.waiting == 0)


def test_texts_and_prompts_take_turns_and_vectors_do_not_depend_on_company():
    with serving(slots=2) as (_, service):
        session, tokenizer = service.engine.session, service.model.tokenizer

        def run(limits: Limits, prompts: int) -> tuple[list[Finished], tuple[np.ndarray, ...]]:
            scheduler, ends, vectors = Scheduler(session, tokenizer, limits), [], []
            how = Sampling(temperature=0, max_tokens=2, ignore_end=True)
            scheduler.waiting.append(scheduler.prepare_texts(TEXTS * 5, vectors.append))
            for n in range(prompts):
                scheduler.waiting.append(scheduler.prepare([9 + n, 10], how, lambda e: ends.append((len(vectors), e))))
            while scheduler.busy:
                scheduler.step()
            return ends, vectors[-1].vectors

        _, alone = run(Limits(), 0)
        ends, together = run(Limits(chunk=32, positions=400), 6)
        assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
        assert all(not done for done, event in ends if isinstance(event, Finished))  # nobody waits for all the texts
