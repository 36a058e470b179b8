"""Several copies of the server behind one address: Ray Serve runs them, requests go where their prompts begin alike.

The door (keys, limits, the access log) stands before all of them, once; what passes it is answered by one replica.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from tasks.ray_workers import require_plain_path
from tasks.serve import errors
from tasks.serve.accounts import Tally
from tasks.serve.affinity import Affinity
from tasks.serve.errors import ApiError
from tasks.serve.guard import Guard
from tasks.serve.keys import Keys
from tasks.serve.metrics import Metrics
from tasks.serve.settings import Settings

SPENT = "fullchain.spent"  # tokens, from a replica to the door


class Replica:
    """One copy of the server, in a process of its own."""

    def __init__(self, model_dir: Path, settings: Settings):
        from tasks.serve.app import create_app

        self._app = create_app(model_dir, settings)

    async def answer(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Message]:
        """The messages that answer a request, and what it cost so far; when nobody takes them, it is cancelled."""
        tally = Tally()
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        unread = [body]

        async def receive() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await asyncio.Event().wait()  # a client that leaves cancels this
            raise AssertionError

        async def run() -> None:
            try:
                await self._app(scope | {"state": {"account": tally}}, receive, messages.put)
            finally:
                messages.put_nowait(None)

        answering = asyncio.create_task(run())
        try:
            while message := await messages.get():
                if tokens := tally.taken():
                    yield {"type": SPENT, "tokens": tokens}
                yield message
        finally:
            answering.cancel()


class Front:
    """What answers at the address: it hands requests on, and speaks for all replicas where they are asked for."""

    def __init__(self, handles: list[Any], settings: Settings):
        self._handles, self._settings = handles, settings
        self._affinity = Affinity(len(handles), settings.slots)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        if scope["path"] == "/health":
            return await (await self._health())(scope, receive, send)
        if scope["path"] == "/metrics":
            return await (await self._metrics())(scope, receive, send)
        if self.draining:
            raise ApiError(503, "the server is shutting down", code="draining")
        number = self._affinity.choose(body)
        self._affinity.running[number] += 1
        try:
            await self._forward(number, scope, body, receive, send)
        finally:
            self._affinity.running[number] -= 1
        return None

    def drain(self) -> None:
        """Take no new requests; those under way go on."""
        self.draining = True

    async def _forward(self, number: int, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        answer = self._handles[number].answer.options(stream=True).remote(_plain(scope), body)
        sending = asyncio.current_task()
        watch = asyncio.create_task(_hung_up(receive))
        watch.add_done_callback(lambda done: None if done.cancelled() or sending is None else sending.cancel())
        try:
            async for message in answer:
                if message["type"] == SPENT:
                    scope["state"]["account"].spend(message["tokens"])
                else:
                    await send(message)
        except (asyncio.CancelledError, OSError):
            answer.cancel()
            if not watch.done():
                raise
        finally:
            watch.cancel()

    async def _ask_all(self, path: str) -> list[bytes]:
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http", "root_path": ""}

        async def ask(handle: Any) -> bytes:
            answer = handle.answer.options(stream=True).remote(scope | {"client": None, "server": None}, b"")
            return b"".join([message.get("body", b"") async for message in answer])

        return await asyncio.gather(*map(ask, self._handles))

    async def _health(self) -> JSONResponse:
        parts = [json.loads(part) for part in await self._ask_all("/health")]
        well = not self.draining and all(part["status"] == "ok" for part in parts)
        counts = {name: sum(part[name] for part in parts) for name in ("running", "waiting")}
        status = {"status": "ok" if well else "draining", **counts, "replicas": len(parts)}
        return JSONResponse(status, 200 if well else 503)

    async def _metrics(self) -> PlainTextResponse:
        """The counters of all replicas, told apart by a label."""
        lines = {}
        for number, text in enumerate(await self._ask_all("/metrics")):
            for line in text.decode().splitlines():
                lines[_labelled(line, number)] = None
        return PlainTextResponse("\n".join([*lines, ""]), media_type="text/plain; version=0.0.4")


def create_front(model_dir: Path, settings: Settings) -> FastAPI:
    """Start the replicas and make the app before them; `app.state.drain` refuses new requests."""
    keys = Keys(settings)
    return front_app(*_start(model_dir, settings), settings, keys)


def front_app(handles: list[Any], end: Callable[[], None], settings: Settings, keys: Keys) -> FastAPI:
    """The door, and the replicas behind it by their handles."""
    front = Front(handles, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        end()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)
    app.mount("/", front)
    app.add_middleware(Guard, settings=settings, keys=keys, metrics=Metrics(lambda: None))  # type: ignore[arg-type,return-value]
    app.state.drain = front.drain
    return app


def _start(model_dir: Path, settings: Settings) -> tuple[list[Any], Callable[[], None]]:
    require_plain_path()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False, configure_logging=False)
    serve.start(proxy_location="Disabled")  # ours is the only address
    inner = settings.model_copy(update={"requests_per_minute": 0, "tokens_per_minute": 0, "replicas": 1})
    deployment = serve.deployment(
        Replica, max_ongoing_requests=settings.slots + settings.queue + 8, ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.drain_s,
    )  # fmt: skip
    handles = [
        serve.run(deployment.bind(model_dir, inner), name=f"replica-{number}", route_prefix=None, blocking=False)
        for number in range(settings.replicas)
    ]

    def end() -> None:
        serve.shutdown()
        if ours:
            ray.shutdown()

    return handles, end


def _plain(scope: Scope) -> dict[str, Any]:
    """What of a request can go to another process."""
    names = (
        "type",
        "http_version",
        "method",
        "scheme",
        "path",
        "raw_path",
        "query_string",
        "headers",
        "client",
        "server",
    )
    return {name: scope.get(name) for name in names} | {"root_path": ""}


def _labelled(line: str, number: int) -> str:
    if line.startswith("#"):
        return line
    name, brace, rest = re.match(r"(\w+)(\{?)(.*)", line).groups()  # type: ignore[union-attr]
    return f'{name}{{replica="{number}"' + ("," if brace else "}") + rest


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
