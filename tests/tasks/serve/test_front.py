"""The door before the replicas, these in this process."""

import asyncio

import httpx
import pytest

from tasks.serve.keys import Keys
from tasks.serve.replicas import Replica, front_app
from tasks.serve.settings import Settings
from tests import tiny

KEY = "the-key-of-this-test"
ASK = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 5, "ignore_eos": True}


class Near:
    """A replica's handle as Ray's are, without Ray."""

    def __init__(self, replica: Replica):
        self._replica, self.answer = replica, self

    def options(self, stream: bool):
        return self

    def remote(self, scope, body):
        return self._replica.answer(scope, body)


@pytest.mark.parametrize("stream", [False, True])
def test_keys_and_tokens_are_counted_once_for_all_replicas(stream):
    settings = Settings(name="tiny", slots=1, threads=1, tokens_per_minute=20, api_key=KEY)
    inner = settings.model_copy(update={"tokens_per_minute": 0})
    handles = [Near(Replica(tiny.int4_model(), inner)) for _ in range(2)]
    app = front_app(handles, lambda: None, settings, Keys(settings))

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            bodies = [ASK | {"stream": stream, "prompt": [token] * 3} for token in (9, 19, 29, 39)]
            statuses = [(await client.post("/v1/completions", json=body)).status_code for body in bodies]
            wrong = await client.post("/v1/completions", json=ASK, headers={"Authorization": "Bearer wrong"})
            return [*statuses, wrong.status_code]

    assert asyncio.run(ask()) == [200, 200, 200, 429, 401]  # 8 tokens each: the third takes the rest
