"""From the engine's thread to the event loop: one request's events as an async iterator."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import Request as HttpRequest
from starlette.types import Receive

from models.engine import Emit, Engine, Finished, Piece, Request
from tasks.serve.accounts import Account
from tasks.serve.errors import ApiError
from tasks.serve.metrics import Metrics

FAILURES = {  # status, message and field
    "error": (500, "the model failed on this request; see the server's log", None),
    "grammar": (400, "grammar: too complex to be followed to its end; make it simpler", "grammar"),
}


class Answering:
    """A request under way. It is submitted at once, so a refusal comes before any byte of the response is sent.

    However the iteration ends (done, timed out, left) the slot is freed; so it is by `cancel` before any iteration.
    """

    def __init__(
        self, engine: Engine, prepare: Callable[[Emit], Request], timeout_s: float, metrics: Metrics, account: Account
    ):
        loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Piece | Finished | ApiError] = asyncio.Queue()
        self._started, self._metrics, self._account = time.monotonic(), metrics, account
        self._request = prepare(lambda event: loop.call_soon_threadsafe(self._hear, event))  # type: ignore[arg-type]
        engine.submit(self._request)
        late = ApiError(504, "the request took longer than this server allows", code="timeout")
        self._deadline = loop.call_later(timeout_s, self._events.put_nowait, late)

    def _hear(self, event: Piece | Finished) -> None:
        if isinstance(event, Finished):  # counted even when nobody listens any more
            self._metrics.count_tokens(event)
        self._events.put_nowait(event)

    def cancel(self) -> None:
        self._deadline.cancel()
        self._request.cancel()

    async def __aiter__(self) -> AsyncIterator[Piece | Finished]:
        first = True
        try:
            while True:
                event = await self._events.get()
                if isinstance(event, ApiError):
                    raise event
                if isinstance(event, Piece):
                    self._account.spend(1)
                    if first:
                        self._metrics.first_token.observe(time.monotonic() - self._started)
                        first = False
                if isinstance(event, Finished) and event.reason in FAILURES:
                    raise ApiError(*FAILURES[event.reason])
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self.cancel()

    async def whole(self) -> tuple[list[Piece], Finished]:
        """All pieces and the end."""
        events = [event async for event in self]
        return events[:-1], events[-1]


class Answers:
    """Several answers to one prompt."""

    def __init__(self, answers: Sequence[Answering]):
        self._answers = answers

    def cancel(self) -> None:
        for answering in self._answers:
            answering.cancel()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece | Finished]]:
        """Events as they come, each with the number of its answer."""
        if len(self._answers) == 1:
            async for event in self._answers[0]:
                yield 0, event
            return
        events: asyncio.Queue[tuple[int, Piece | Finished | ApiError]] = asyncio.Queue()

        async def forward(number: int, answering: Answering) -> None:
            try:
                async for event in answering:
                    events.put_nowait((number, event))
            except ApiError as error:
                events.put_nowait((number, error))

        tasks = [asyncio.create_task(forward(*numbered)) for numbered in enumerate(self._answers)]
        left = len(tasks)
        try:
            while left:
                number, event = await events.get()
                if isinstance(event, ApiError):
                    raise event
                left -= isinstance(event, Finished)
                yield number, event
        finally:
            for task in tasks:
                task.cancel()

    async def wholes(self, http: HttpRequest) -> list[tuple[list[Piece], Finished]]:
        """All answers, whole; cancelled when the client hangs up meanwhile."""
        watch = asyncio.create_task(self._cancel_on_disconnect(http))
        try:
            return await asyncio.gather(*(answering.whole() for answering in self._answers))
        finally:
            watch.cancel()
            self.cancel()

    async def _cancel_on_disconnect(self, http: HttpRequest) -> None:
        await hung_up(http.receive)
        self.cancel()


async def hung_up(receive: Receive) -> None:
    """Until the client does."""
    while (await receive())["type"] != "http.disconnect":
        pass
