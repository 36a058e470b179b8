"""Two replicas behind one address: the same API, and one place for what begins alike."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from tasks.serve.replicas import create_front, start_replicas
from tasks.serve.settings import Settings
from tests import tiny
from tests.serving import wait_until
from tests.tasks.serve import test_chat, test_structured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(" " in sys.executable, reason="Ray starts no workers below a path with a blank"),
]
SAME = [
    test_chat.test_a_chat_is_answered,
    test_chat.test_streamed_pieces_join_to_the_same_answer,
    test_chat.test_a_seed_repeats_an_answer,
    test_chat.test_a_streamed_tool_call_shows_no_markup,
    test_chat.test_a_tool_result_is_used,
    test_structured.test_responses_are_answered_and_streamed,
    test_structured.test_texts_are_embedded,
]
LONG = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 700, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    ready, log = folder / "ready.json", folder / "log"
    command = [sys.executable, "-m", "tasks.serve", str(tiny.int4_model()), "--name", "tiny", "--port", "0"]
    command += ["--threads", "1", "--slots", "2", "--replicas", "2", "--ready-file", str(ready)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, 300)
        assert ready.exists(), log.read_text()
        yield process, json.loads(ready.read_text())["url"]
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=120) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def replicated(started):
    return started[1]


@pytest.fixture
def client(replicated):
    return openai.OpenAI(base_url=f"{replicated}/v1", api_key="unused", max_retries=0)


@pytest.mark.parametrize("test", SAME, ids=lambda test: test.__name__)
def test_the_api_is_that_of_one_process(client, test):
    test(client)


def test_errors_are_the_same_and_all_replicas_are_spoken_for(client, replicated):
    with pytest.raises(openai.NotFoundError, match="expected 'tiny'"):
        client.completions.create(model="another", prompt="x")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="tiny", prompt="x", temperature=-1)
    health = httpx.get(f"{replicated}/health").json()
    assert (health["status"], health["replicas"]) == ("ok", 2)
    metrics = httpx.get(f"{replicated}/metrics").text
    assert 'fullchain_slots{replica="0"} 2.0' in metrics and 'fullchain_slots{replica="1"} 2.0' in metrics
    assert "发送" in httpx.get(replicated).text


def test_what_begins_alike_is_read_once(client):
    def cached(prompt: list[int]) -> int:
        reply = client.completions.create(model="tiny", prompt=prompt, max_tokens=1)
        return reply.usage.prompt_tokens_details.cached_tokens

    families = [list(range(start, start + 160)) for start in (20, 120, 220, 320)]
    assert [cached(family) for family in families] == [0] * 4
    assert all(cached([*family, 9]) >= 128 for family in families)


def test_a_client_that_leaves_frees_its_slot(replicated):
    with httpx.stream("POST", f"{replicated}/v1/completions", json=LONG) as answer:
        next(answer.iter_lines())
    wait_until(lambda: httpx.get(f"{replicated}/health").json()["running"] == 0)


def first_replica(pid: int) -> psutil.Process:
    """The process of it below another one; the youngest, where there are servers of several tests."""
    below = psutil.Process(pid).children(recursive=True)
    found = [child for child in below if re.search(r"ServeReplica:\S+-replica-0:", " ".join(child.cmdline()))]
    return max(found, key=psutil.Process.create_time)


def kill(process: psutil.Process) -> None:
    process.kill()
    process.wait()


def test_a_replica_that_dies_takes_no_request_with_it_and_is_replaced(started):
    process, replicated = started
    kill(first_replica(process.pid))
    asks = [{"model": "tiny", "prompt": [token, token], "max_tokens": 2} for token in range(20, 28)]
    assert [httpx.post(f"{replicated}/v1/completions", json=ask, timeout=60).status_code for ask in asks] == [200] * 8
    wait_until(lambda: httpx.get(f"{replicated}/health", timeout=30).json()["replicas"] == 2, 60)


async def fetched(app, method: str, path: str, **options) -> dict:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return (await client.request(method, path, timeout=60, **options)).json()


async def counts(app) -> set[int]:
    """The tokens of like prompts, by all replicas: what tells models apart."""
    asks = [{"messages": [{"role": "user", "content": f"{n} {tiny.GREETING}"}]} for n in range(8)]
    return {(await fetched(app, "POST", "/tokenize", json=ask))["count"] for ask in asks}


async def alive(app, replicas: int) -> None:
    async with asyncio.timeout(120):
        while (await fetched(app, "GET", "/health"))["replicas"] < replicas:
            pass


def model_of(folder: Path, greeting: int) -> Path:
    """A model of its own; a larger greeting gives more tokens."""
    shutil.copytree(tiny.int4_model(), folder)
    (folder / "chat_template.jinja").write_text("hello " * greeting)
    return folder


def test_a_moved_model_is_served_by_all_replicas(tmp_path):
    other = model_of(tmp_path / "other", 9)
    app = create_front(tiny.int4_model(), Settings(name="tiny", slots=1, threads=1, replicas=2))

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            before = await counts(app)
            await asyncio.to_thread(app.state.replace, other)
            after = await counts(app)
            assert len(after) == 1 and not before & after
            with pytest.raises(Exception, match="missing"):
                await asyncio.to_thread(app.state.replace, tmp_path / "nowhere")
            assert await counts(app) == after
            kill(first_replica(os.getpid()))
            assert await counts(app) == after
            await alive(app, replicas=2)
            assert await counts(app) == after  # by the replica that was started again, too

    asyncio.run(serve())


def test_two_servers_on_one_cluster_leave_each_other_alone(tmp_path):
    small, large, larger = (model_of(tmp_path / str(size), size) for size in (1, 5, 9))
    settings = Settings(name="tiny", port=8001, slots=1, threads=1)
    app = create_front(small, settings)

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            second = create_front(large, settings.model_copy(update={"port": 8002}))
            async with second.router.lifespan_context(second):
                mine, others = await counts(app), await counts(second)
                assert max(mine) < min(others)
                await asyncio.to_thread(second.state.replace, larger)
                assert max(others) < min(await counts(second))
                assert await counts(app) == mine
            assert await counts(app) == mine  # the other has ended
            kill(first_replica(os.getpid()))
            await alive(app, replicas=1)
            assert await counts(app) == mine  # by the replica that was started again

    asyncio.run(serve())


def replicas_of(port: int) -> list[str]:
    from ray import serve

    return [name[-1] for name in serve.status().applications if f"-{port}-replica-" in name]


def test_what_a_server_left_unended_is_taken_over_with_the_model_of_the_next(tmp_path):
    small, large = (model_of(tmp_path / str(size), size) for size in (1, 5))
    settings = Settings(name="tiny", slots=1, threads=1, port=8003, replicas=2)
    left = create_front(small, settings)

    async def serve() -> None:
        async with left.router.lifespan_context(left):
            former = await counts(left)
            assert replicas_of(8003) == ["0", "1"]
            app = create_front(large, settings.model_copy(update={"replicas": 1}))
            async with app.router.lifespan_context(app):
                assert replicas_of(8003) == ["0"] and max(former) < min(await counts(app))
            assert replicas_of(8003) == []

    asyncio.run(serve())


def test_an_interrupted_start_leaves_no_replica(monkeypatch):
    from ray import serve

    run, settings = serve.run, Settings(name="tiny", slots=1, threads=1, port=8004, replicas=2)

    def interrupted(bound, name: str, **options):
        if name.endswith("1"):
            raise KeyboardInterrupt
        return run(bound, name=name, **options)

    _, end = start_replicas(tiny.int4_model(), settings.model_copy(update={"port": 8005, "replicas": 1}))
    try:
        monkeypatch.setattr(serve, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start_replicas(tiny.int4_model(), settings)
        assert replicas_of(8004) == [] and replicas_of(8005) == ["0"]
    finally:
        end()
