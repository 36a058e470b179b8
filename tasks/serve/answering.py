"""From the engine's thread to the event loop: one request's events as an async iterator."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from fastapi import Request as HttpRequest

from models.engine import Engine, Finished, Piece, Sampling
from tasks.serve.errors import ApiError
from tasks.serve.metrics import Metrics


class Answering:
    """An answer under way. It is submitted at once, so a refusal comes before any byte of the response is sent.

    However the iteration ends (done, timed out, left) the slot is freed; so it is by `cancel` before any iteration.
    """

    def __init__(self, engine: Engine, prompt: Sequence[int], sampling: Sampling, timeout_s: float, metrics: Metrics):
        loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Piece | Finished] = asyncio.Queue()
        self._started, self._metrics = time.monotonic(), metrics
        self._deadline = self._started + timeout_s
        emit = self._events.put_nowait
        self._request = engine.submit(prompt, sampling, lambda event: loop.call_soon_threadsafe(emit, event))

    def cancel(self) -> None:
        self._request.cancel()

    async def __aiter__(self) -> AsyncIterator[Piece | Finished]:
        first = True
        try:
            while True:
                event = await self._next()
                if first:
                    self._metrics.first_token.observe(time.monotonic() - self._started)
                    first = False
                if isinstance(event, Finished):
                    self._metrics.count_tokens(event)
                    if event.reason == "error":
                        raise ApiError(500, "the model failed on this request; see the server's log")
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self.cancel()

    async def _next(self) -> Piece | Finished:
        try:
            return await asyncio.wait_for(self._events.get(), self._deadline - time.monotonic())
        except TimeoutError:
            raise ApiError(504, "the request took longer than this server allows", code="timeout") from None

    async def whole(self, http: HttpRequest) -> tuple[list[Piece], Finished]:
        """All pieces and the end; cancelled when the client hangs up meanwhile."""
        watch = asyncio.create_task(self._cancel_on_disconnect(http))
        try:
            events = [event async for event in self]
        finally:
            watch.cancel()
        return events[:-1], events[-1]

    async def _cancel_on_disconnect(self, http: HttpRequest) -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass
        self.cancel()
