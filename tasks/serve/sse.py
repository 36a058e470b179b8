"""Server-sent events: one JSON object per event, "[DONE]" last, an error object when something fails midway."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tasks.serve.answering import Answering
from tasks.serve.errors import ApiError


class EventStream(StreamingResponse):
    """Sends `events` as they come; however it ends, even before its first byte, the answer under way is cancelled."""

    def __init__(self, events: AsyncIterator[dict[str, Any]], answering: Answering):
        super().__init__(_lines(events), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answering.cancel()


async def _lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for event in events:
            yield _line(event)
    except ApiError as error:  # the status is out already, so the error travels as an event
        yield _line(error.body)
    yield "data: [DONE]\n\n"


def _line(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
