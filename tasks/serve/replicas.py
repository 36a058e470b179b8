"""Several copies of the server behind one address: Ray Serve runs them, requests go where their prompts begin alike.

The door (keys, limits, the access log) stands before all of them, once; what passes it is answered by one replica.
"""

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from tasks.processes import cores
from tasks.ray_workers import require_plain_path
from tasks.serve import errors
from tasks.serve.accounts import Tally
from tasks.serve.affinity import Affinity
from tasks.serve.answering import hung_up
from tasks.serve.errors import ApiError
from tasks.serve.guard import Guard
from tasks.serve.keys import Keys
from tasks.serve.metrics import Traffic
from tasks.serve.settings import Settings

log = logging.getLogger("fullchain.serve")

ANSWER_S = 10  # seconds that a replica gets to say how it is
Said = tuple[int, list[Message]]  # by a replica: tokens of a request since it said so last, and parts of its answer


class Dead(Exception):
    """A replica was dead before it took a request."""


class Replica:
    """One copy of the server, in a process of its own."""

    def __init__(self, model_dir: Path, settings: Settings):
        from tasks.serve.app import create_app

        self._app = create_app(model_dir, settings)

    async def replace(self, model_dir: Path) -> None:
        """Serve another model, as Service.replace does."""
        await asyncio.to_thread(self._app.state.service.replace, model_dir)

    async def answer(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Said]:
        """What answers a request, as it comes, and what it cost so far; when nobody takes it, it is cancelled.

        Each item goes to the other process by itself, so it has all that is there, and a word goes with its cost.
        """
        heard: asyncio.Queue[list[Message] | None] = asyncio.Queue()  # [] when a cost should be told, None at the end
        tally = Tally(lambda: heard.put_nowait([]))
        unread = [body]

        async def receive() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await asyncio.Event().wait()  # a client that leaves cancels this
            raise AssertionError

        async def send(message: Message) -> None:
            heard.put_nowait([message])

        async def run() -> None:
            try:
                await self._app(scope | {"state": {"account": tally}}, receive, send)
            finally:
                heard.put_nowait(None)

        answering, ended = asyncio.create_task(run()), False
        try:
            while not ended:
                parts = [await heard.get()]
                while not heard.empty():
                    parts.append(heard.get_nowait())
                ended = None in parts
                tokens, messages = tally.taken(), [message for part in parts for message in part or ()]
                if tokens or messages:
                    yield tokens, messages
        finally:
            answering.cancel()


class Note:
    """The folder that a server's replicas begin with, in the table of Ray's head."""

    def __init__(self, server: str):
        self._key = f"fullchain.model.{server}"

    def read(self) -> Path:
        from ray.experimental.internal_kv import _internal_kv_get

        return Path(_internal_kv_get(self._key).decode())

    def write(self, model_dir: Path) -> None:
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(self._key, str(model_dir))

    def remove(self) -> None:
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(self._key)


class Kept(Replica):
    """A replica that Ray starts again when it dies: it serves the model that was told last.

    Ray would reconfigure a replica only by taking it out of service, so the model is noted where all find it.
    """

    def __init__(self, note: Note, settings: Settings):
        self._note = note
        super().__init__(note.read(), settings)

    async def replace(self, model_dir: Path) -> None:
        await super().replace(model_dir)
        self._note.write(model_dir)


class Front:
    """What answers at the address: it hands requests on, and speaks for all replicas where they are asked for."""

    def __init__(self, handles: list[Any], model_dir: Path, settings: Settings, traffic: Traffic):
        self._handles, self._serving, self._traffic = handles, model_dir, traffic
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
        dead: set[int] = set()
        while len(dead) < len(self._handles):
            number = self._affinity.choose(body, dead)
            self._affinity.running[number] += 1
            try:
                return await self._forward(number, scope, body, receive, send)
            except Dead as problem:  # it did not kill the replica, so another may answer it
                log.warning("replica %d is dead: %r", number, problem.__cause__)
                dead.add(number)
            finally:
                self._affinity.running[number] -= 1
        raise ApiError(503, "no replica of the model is alive; try again in a moment", code="unavailable")

    def drain(self) -> None:
        """Take no new requests; those under way go on."""
        self.draining = True

    def replace(self, model_dir: Path) -> None:
        """Serve another model from now on: one replica after the other, each without a pause. Not from the event loop.

        Raises what a replica raises; then all go back to the model before. One that cannot is logged, and serves the
        other until the next call.
        """
        try:
            for handle in self._handles:
                handle.replace.remote(model_dir).result()
        except Exception:
            self._go_back()
            raise
        self._serving = model_dir

    def _go_back(self) -> None:
        for number, handle in enumerate(self._handles):
            try:
                handle.replace.remote(self._serving).result()
            except Exception:  # the others are to go back all the same
                log.exception("replica %d cannot go back to %s", number, self._serving)

    async def _forward(self, number: int, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        from ray.exceptions import ActorDiedError

        taken = False
        answer = self._handles[number].answer.options(stream=True).remote(_plain(scope), body)
        sending = asyncio.current_task()
        watch = asyncio.create_task(hung_up(receive))
        watch.add_done_callback(lambda done: None if done.cancelled() or sending is None else sending.cancel())
        try:
            async for tokens, messages in answer:
                taken = True
                scope["state"]["account"].spend(tokens)
                for message in messages:
                    await send(message)
        except ActorDiedError as problem:
            if taken:
                raise
            raise Dead from problem
        except asyncio.CancelledError:
            answer.cancel()
            if not watch.done():
                raise
        finally:
            watch.cancel()

    async def _ask_all(self, path: str) -> dict[int, bytes]:
        """What the replicas say, by their numbers; those that are dead, or do not answer in time, say nothing."""
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http", "root_path": ""}

        async def ask(handle: Any) -> bytes:
            answer = handle.answer.options(stream=True).remote(scope | {"client": None, "server": None}, b"")
            async with asyncio.timeout(ANSWER_S):
                return b"".join([part.get("body", b"") async for _, messages in answer for part in messages])

        said = await asyncio.gather(*map(ask, self._handles), return_exceptions=True)
        for number, problem in enumerate(said):
            if isinstance(problem, BaseException):
                log.warning("replica %d does not answer: %r", number, problem)
        return {number: part for number, part in enumerate(said) if isinstance(part, bytes)}

    async def _health(self) -> JSONResponse:
        """Well as long as a replica is; `replicas` are those that answer."""
        parts = [json.loads(part) for part in (await self._ask_all("/health")).values()]
        well = not self.draining and any(part["status"] == "ok" for part in parts)
        counts = {name: sum(part[name] for part in parts) for name in ("running", "waiting")}
        status = {"status": "ok" if well else "draining" if parts else "down", **counts, "replicas": len(parts)}
        return JSONResponse(status, 200 if well else 503)

    async def _metrics(self) -> PlainTextResponse:
        """The counters of all replicas and of the door, which alone sees what it refuses, told apart by a label."""
        lines = {}
        texts = {"door": self._traffic.text()} | {str(n): text for n, text in (await self._ask_all("/metrics")).items()}
        for name, text in texts.items():
            for line in text.decode().splitlines():
                lines[_labelled(line, name)] = None
        return PlainTextResponse("\n".join([*lines, ""]), media_type="text/plain; version=0.0.4")


def create_front(model_dir: Path, settings: Settings) -> FastAPI:
    """Start the replicas and make the app before them; its state is as that of one server (tasks/serve/app.py)."""
    keys = Keys(settings)
    return front_app(*start_replicas(model_dir, settings), model_dir, settings, keys)


def front_app(handles: list[Any], end: Callable[[], None], model_dir: Path, settings: Settings, keys: Keys) -> FastAPI:
    """The door, and behind it the replicas by their handles, which serve `model_dir`."""
    traffic = Traffic()
    front = Front(handles, model_dir, settings, traffic)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:  # also when the server is cut off: told twice to stop, or unable to say that it is ready
            end()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)
    app.mount("/", front)
    app.add_middleware(Guard, settings=settings, keys=keys, metrics=traffic)
    app.state.drain, app.state.replace = front.drain, front.replace
    return app


def start_replicas(model_dir: Path, settings: Settings) -> tuple[list[Any], Callable[[], None]]:
    """Handles of `settings.replicas` replicas on Ray, and what ends them; a start that fails leaves none.

    Those that a killed server of this address left are taken over or ended. Raises what Ray raises, StageError below a
    path with a blank.
    """
    require_plain_path()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    ours = not ray.is_initialized()
    if ours:
        alone = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        ray.init(log_to_driver=False, configure_logging=False, **alone)
    threads = settings.threads or max(1, cores() // settings.replicas)
    inner = {"requests_per_minute": 0, "tokens_per_minute": 0, "replicas": 1, "threads": threads}
    deployment = serve.deployment(
        Kept, max_ongoing_requests=settings.slots + settings.queue + 8, ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.drain_s,
    )  # fmt: skip
    server = "-".join(("fullchain", socket.gethostname(), settings.host, str(settings.port)))  # others may be there
    prefix, note = f"{server}-replica-", Note(server)
    names = [f"{prefix}{number}" for number in range(settings.replicas)]

    def end() -> None:
        with ExitStack() as last:  # all of it, whatever fails
            if ours:
                last.callback(ray.shutdown)
            last.callback(note.remove)
            _delete(names)

    try:
        serve.start(proxy_location="Disabled")  # ours is the only address
        note.write(model_dir)
        bound = deployment.bind(note, settings.model_copy(update=inner))
        left = serve.status().applications  # by a server of this name that was killed
        _delete([name for name in left if name.startswith(prefix) and name not in names])
        handles = [serve.run(bound, name=name, route_prefix=None, blocking=False) for name in names]
    except BaseException:
        try:
            end()
        except Exception:  # why it did not start is the news
            log.exception("not all replicas could be ended")
        raise
    return handles, end


def _delete(names: list[str]) -> None:
    """End replicas; each waits until it is gone."""
    from ray import serve

    with ThreadPoolExecutor() as pool:
        list(pool.map(serve.delete, names))


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


def _labelled(line: str, replica: str) -> str:
    if line.startswith("#"):
        return line
    name, brace, rest = re.match(r"(\w+)(\{?)(.*)", line).groups()  # type: ignore[union-attr]
    return f'{name}{{replica="{replica}"' + ("," if brace else "}") + rest
