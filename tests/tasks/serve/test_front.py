"""The door before the replicas, these in this process."""

import asyncio
import errno
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from ray.exceptions import ActorDiedError

from tasks.serve.keys import Keys
from tasks.serve.reload import follow
from tasks.serve.replicas import Replica, front_app
from tasks.serve.settings import Settings
from tests import tiny
from tests.serving import wait_until

KEY = "the-key-of-this-test"
SETTINGS = Settings(name="tiny", slots=1, threads=1)
ASK = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 5, "ignore_eos": True}


class Near:
    """A replica's handle as Ray's are, without Ray; a dead one's answers raise."""

    def __init__(self, replica: Replica, dead: bool = False):
        self._replica, self._dead, self.answer = replica, dead, self

    def options(self, stream: bool):
        return self

    def remote(self, scope, body):
        return died() if self._dead else self._replica.answer(scope, body)


async def died():
    raise ActorDiedError
    yield


def door(handles, settings, model=None):
    return front_app(handles, lambda: None, model or tiny.int4_model(), settings, Keys(settings))


def answers(app, *asks) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.request(method, path, **options) for method, path, options in asks]

    return asyncio.run(ask())


def test_the_replicas_end_with_their_server_also_where_that_is_cut_off():
    ended = []
    app = front_app([], lambda: ended.append("replicas"), tiny.int4_model(), SETTINGS, Keys(SETTINGS))

    async def cut_off():
        async with app.router.lifespan_context(app):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cut_off())
    assert ended == ["replicas"]


def test_a_dead_replica_is_no_end_and_the_door_counts_what_it_refuses():
    settings = Settings(name="tiny", slots=1, threads=1, max_body_bytes=2000)
    replica = Replica(tiny.int4_model(), settings)
    for dead, status, alive in ((False, 200, 1), (True, 503, 0)):
        handles = [Near(replica, dead), Near(replica, dead=True)]
        app = door(handles, settings)
        large = ("POST", "/v1/completions", {"json": ASK | {"prompt": "x" * 3000}})
        refused, health, metrics = answers(app, large, ("GET", "/health", {}), ("GET", "/metrics", {}))
        assert (refused.status_code, health.status_code, health.json()["replicas"]) == (413, status, alive)
        counted = 'fullchain_requests_total{replica="door",path="/v1/completions",status="413"} 1.0'
        assert metrics.status_code == 200 and counted in metrics.text


def test_what_a_dead_replica_was_given_is_answered_by_another():
    settings = Settings(name="tiny", slots=1, threads=1)
    replica = Replica(tiny.int4_model(), settings)
    asks = [("POST", "/v1/completions", {"json": ASK | {"prompt": [token] * 3}}) for token in range(9, 15)]
    app = door([Near(replica, dead=True), Near(replica)], settings)
    assert [answer.status_code for answer in answers(app, *asks)] == [200] * 6
    app = door([Near(replica, dead=True)] * 2, settings)
    (answer,) = answers(app, asks[0])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


class Told(Near):
    """A handle that knows when the first of what its replica says was heard."""

    def __init__(self, replica: Replica):
        super().__init__(replica)
        self.told = asyncio.Event()

    def remote(self, scope, body):
        self._messages = self._replica.answer(scope, body)
        return self

    async def __aiter__(self):
        async for message in self._messages:
            yield message
            self.told.set()

    def cancel(self) -> None:
        """What hears it is cancelled already."""


def test_a_client_that_hangs_up_before_its_answer_pays_for_its_prompt():
    settings = Settings(name="tiny", slots=1, threads=1, tokens_per_minute=20)
    handle = Told(Replica(tiny.int4_model(), settings.model_copy(update={"tokens_per_minute": 0})))
    app = door([handle], settings)
    unread = [{"type": "http.request", "body": json.dumps(ASK | {"prompt": [9] * 30, "max_tokens": 600}).encode()}]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}
    scope |= {"client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")]}
    sent = []

    async def receive():
        if unread:
            return unread.pop()
        await asyncio.wait_for(handle.told.wait(), 60)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def leave_and_come_again() -> httpx.Response:
        await app(scope, receive, send)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.post("/v1/completions", json=ASK)

    assert asyncio.run(leave_and_come_again()).status_code == 429
    assert not sent


@pytest.mark.parametrize("stream", [False, True])
def test_keys_and_tokens_are_counted_once_for_all_replicas(stream):
    settings = Settings(name="tiny", slots=1, threads=1, tokens_per_minute=20, api_key=KEY)
    inner = settings.model_copy(update={"tokens_per_minute": 0})
    handles = [Near(Replica(tiny.int4_model(), inner)) for _ in range(2)]
    app = door(handles, settings)

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            bodies = [ASK | {"stream": stream, "prompt": [token] * 3} for token in (9, 19, 29, 39)]
            statuses = [(await client.post("/v1/completions", json=body)).status_code for body in bodies]
            wrong = await client.post("/v1/completions", json=ASK, headers={"Authorization": "Bearer wrong"})
            return [*statuses, wrong.status_code]

    assert asyncio.run(ask()) == [200, 200, 200, 429, 401]  # 8 tokens each: the third takes the rest


def test_what_a_streamed_answer_costs_is_told_with_its_words():
    replica = Replica(tiny.int4_model(), Settings(name="tiny", slots=1, threads=1))
    asked = ASK | {"max_tokens": 40, "stream": True, "logprobs": 1}  # so that each token is told, even half a character
    body = json.dumps(asked).encode()
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "root_path": ""}
    scope |= {"client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")]}

    async def said() -> list[tuple[int, list]]:
        return [part async for part in replica.answer(scope, body)]

    parts = asyncio.run(said())
    assert sum(tokens for tokens, _ in parts) == 3 + 40
    assert all(messages for _, messages in parts[1:])  # the first may tell of the prompt, before there is any word
    text = b"".join(message.get("body", b"") for _, messages in parts for message in messages)
    assert text.count(b"data: ") == 40 + 2 and text.endswith(b"data: [DONE]\n\n")


class Changeable:
    """A handle of a replica that only changes models; it refuses those in `refused`, as one short of memory does."""

    def __init__(self, model):
        self.model, self.refused, self.replace, self.served = model, set(), self, [model]

    def remote(self, model):
        self._asked = model
        return self

    def result(self):
        if self._asked in self.refused:
            raise MemoryError(self._asked)
        if self.model != self._asked:
            self.model = self._asked
            self.served.append(self.model)


def replaceable() -> tuple[list[Changeable], Callable[[Path], None]]:
    """Handles of two replicas that serve `first`, and what changes them."""
    handles, settings = [Changeable(Path("first")), Changeable(Path("first"))], Settings(name="tiny", slots=1)
    return handles, door(handles, settings, Path("first")).state.replace


def test_a_model_that_one_replica_refuses_is_served_by_none():
    handles, replace = replaceable()
    handles[1].refused = {Path("second")}
    with pytest.raises(MemoryError):
        replace(Path("second"))
    assert [handle.model for handle in handles] == [Path("first")] * 2


def test_a_name_that_is_moved_back_ends_all_replicas_on_one_model():
    handles, replace = replaceable()
    handles[0].refused, handles[1].refused = {Path("first")}, {Path("second")}
    named = [Path("second")]
    ended = follow(replace, Path("first"), lambda: named[0], every_s=0.01)
    try:
        wait_until(lambda: handles[0].model == Path("second"))  # it cannot go back yet
        handles[0].refused, named[0] = set(), Path("first")
        wait_until(lambda: [handle.model for handle in handles] == [Path("first")] * 2)
    finally:
        ended.set()


def test_a_model_that_is_refused_is_tried_more_and_more_seldom_also_where_nothing_may_be_written(monkeypatch, caplog):
    handles, replace = replaceable()
    handles[1].refused, looks = {Path("second")}, []

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def find() -> Path:
        looks.append(Path("second"))
        return Path("third") if len(looks) > 100 else Path("second")

    monkeypatch.setattr("os.utime", refuse)
    ended = follow(replace, Path("first"), find, every_s=0.001)
    try:
        wait_until(lambda: handles[1].model == Path("third"))
    finally:
        ended.set()
    warnings = [record.getMessage() for record in caplog.records if "marked as used" in record.getMessage()]
    assert [message.split()[0] for message in warnings[:1]] == ["first"] and len(warnings) == len(set(warnings))
    assert handles[0].served.count(Path("second")) == 7  # at look 1, 2, 4, 8, 16, 32 and 64
