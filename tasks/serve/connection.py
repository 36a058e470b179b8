"""A connection that is cut off when its client is slower than it may be where no app can see it."""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("fullchain.serve")

LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """uvicorn's, whose client has `client_s` seconds to send a request's head, and as many to take any of an answer."""

    def __init__(self, client_s: float, **given: Any):
        super().__init__(**given)
        self._client_s = client_s
        self._head: asyncio.TimerHandle | None = None  # while one is awaited
        self._unsent: asyncio.TimerHandle | None = None  # while there is something that the client did not take

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=0)  # so writing is paused as soon as anything is left unsent
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head = _ended(self._head)
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = _ended(self._unsent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head, self._unsent = _ended(self._head), _ended(self._unsent)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self._client_s, self._give_up_head)

    def _give_up_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(LATE)
            self.transport.close()

    def _watch(self, unsent: int) -> None:
        self._unsent = self.loop.call_later(self._client_s, self._look, unsent)

    def _look(self, before: int) -> None:
        """Nothing is written while writing is paused, so what is unsent can only become less."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < before:
            return self._watch(unsent)
        log.warning("a client took no more of its answer for %g s", self._client_s)
        return self.transport.abort()


def _ended(timer: asyncio.TimerHandle | None) -> None:
    if timer:
        timer.cancel()
