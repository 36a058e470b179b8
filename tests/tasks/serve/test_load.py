import asyncio
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from tasks.serve.reload import follow
from tests import tiny
from tests.serving import serving, wait_until

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": tiny.GREETING}], "temperature": 0}
LONG = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 700, "temperature": 2.0, "seed": 1}


@pytest.fixture
def endless(service):
    """Nothing ends an answer but its limit."""
    kept, service.model.tokenizer.stop_ids = service.model.tokenizer.stop_ids, frozenset()
    yield
    service.model.tokenizer.stop_ids = kept
    wait_until(lambda: service.engine.running == service.engine.waiting == 0)


def test_many_clients_get_what_one_gets(url):
    async def ask(client):
        reply = await client.chat.completions.create(**CHAT)
        return reply.choices[0].message.content

    async def all_at_once():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=20) as client:
            return await asyncio.gather(*(ask(client) for _ in range(12)))

    assert asyncio.run(all_at_once()) == [tiny.GREETED] * 12


def test_leaving_a_stream_frees_its_slot(client, service, endless):
    with client.completions.create(**LONG, stream=True) as stream:
        next(iter(stream))
        assert service.engine.running == 1
    wait_until(lambda: service.engine.running == 0)


def test_hanging_up_on_a_whole_answer_frees_its_slot(url, service, endless, monkeypatch):
    slow(service, monkeypatch)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/completions", json=LONG, timeout=0.3)
    wait_until(lambda: service.engine.running == 0, 5)


def test_a_full_queue_refuses_with_429_and_retry_after(url, service, endless, monkeypatch):
    slow(service, monkeypatch)
    with httpx.Client(base_url=url, timeout=3) as http, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(http.post, "/v1/completions", json=LONG) for _ in range(4)]
        wait_until(lambda: service.engine.running + service.engine.waiting == 4)
        refused = httpx.post(f"{url}/v1/completions", json=LONG)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert httpx.get(f"{url}/health").json() == {"status": "ok", "running": 2, "waiting": 2}
        for answer in waiting:
            assert isinstance(answer.exception(), httpx.ReadTimeout)


def test_a_request_that_takes_too_long_is_ended(monkeypatch):
    with serving(slots=1, timeout_s=0.3) as (url, service):
        slow(service, monkeypatch)
        response = httpx.post(f"{url}/v1/completions", json=LONG)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        streamed = httpx.post(f"{url}/v1/completions", json=LONG | {"stream": True})
        assert (streamed.status_code, '"code": "timeout"' in streamed.text) == (200, True)
        wait_until(lambda: service.engine.running == 0)


def test_only_answers_with_a_token_count_as_times_to_the_first(monkeypatch):
    with serving(slots=1) as (url, service):

        def counted() -> float:
            (line,) = (x for x in httpx.get(f"{url}/metrics").text.splitlines() if "first_token_seconds_count" in x)
            return float(line.split()[-1])

        assert httpx.post(f"{url}/v1/embeddings", json={"model": "tiny", "input": [[9, 10]]}).status_code == 200
        with monkeypatch.context() as patch:
            patch.setattr(service.engine.session, "vocab_size", -1)
            patch.setattr("tasks.serve.service.Model.check_tokens", lambda *_: None)
            assert httpx.post(f"{url}/v1/completions", json=LONG).status_code == 500
        assert counted() == 0
        assert httpx.post(f"{url}/v1/completions", json=LONG | {"max_tokens": 3}).status_code == 200
        assert counted() == 1


def test_answers_that_were_left_are_counted(url, service, endless, monkeypatch):
    slow(service, monkeypatch)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/completions", json=LONG, timeout=0.3)
    wait_until(lambda: 'fullchain_answers_total{reason="cancelled"}' in httpx.get(f"{url}/metrics").text)


def test_a_draining_server_takes_nothing_new(tmp_path):
    other = shutil.copytree(tiny.int4_model(), tmp_path / "other")
    with serving(slots=1) as (url, service):
        service.drain()
        service.replace(other)  # neither does the model that comes meanwhile
        response = httpx.post(f"{url}/v1/chat/completions", json=CHAT)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
        assert httpx.get(f"{url}/health").status_code == 503


def test_a_moved_model_is_served_without_a_pause_and_a_broken_one_is_not(tmp_path):
    other = shutil.copytree(tiny.int4_model(), tmp_path / "other")
    defaults = {"do_sample": True, "temperature": 1.9, "eos_token_id": 2}
    (other / "generation_config.json").write_text(json.dumps(defaults))
    where = [tiny.int4_model()]
    with serving(slots=2) as (url, service):
        ended = follow(service.replace, where[0], lambda: where[0], every_s=0.05)
        first = service.engine
        with httpx.stream("POST", f"{url}/v1/completions", json=LONG | {"stream": True, "ignore_eos": True}) as answer:
            where[0] = other
            wait_until(lambda: service.model.defaults == {"temperature": 1.9})
            assert "[DONE]" in answer.read().decode()  # begun by the old one, ended by it
        wait_until(lambda: first.draining)
        where[0] = tmp_path / "nowhere"
        for _ in range(3):
            reply = httpx.post(f"{url}/v1/chat/completions", json=CHAT)
            assert reply.json()["choices"][0]["message"]["content"] == tiny.GREETED
        ended.set()


def slow(service, monkeypatch):
    """Let every step take long enough to be seen."""
    forward = service.engine.session.forward

    def delayed(*arguments, **options):
        time.sleep(0.02)
        return forward(*arguments, **options)

    monkeypatch.setattr(service.engine.session, "forward", delayed)
