"""Server-sent events: one JSON object per event, "[DONE]" last, an error object when something fails midway."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from tasks.serve.answering import Answers, hung_up
from tasks.serve.errors import ApiError

HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class EventStream(Response):
    """Sends `events` as they come; however it ends, even before its first byte, the answers under way are cancelled."""

    def __init__(self, events: AsyncIterator[dict[str, Any]], answers: Answers):
        super().__init__()
        self._events, self._answers = events, answers

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.current_task()
        watch = asyncio.create_task(hung_up(receive))
        watch.add_done_callback(lambda done: None if done.cancelled() or sending is None else sending.cancel())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            async for line in _lines(self._events):
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except (asyncio.CancelledError, OSError):
            if not watch.done():  # stopped by others than the client
                raise
        finally:
            watch.cancel()
            self._answers.cancel()


async def _lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield _line(event)
    except ApiError as error:  # the status is out already, so the error travels as an event
        yield _line(error.body)
    yield b"data: [DONE]\n\n"


def _line(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
