"""A served tiny model: the server in a thread of this process, spoken to over loopback."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvicorn

from tasks.serve.app import create_app
from tasks.serve.connection import Connection
from tasks.serve.service import Service
from tasks.serve.settings import Settings
from tests import tiny


@contextmanager
def serving(model: Path | None = None, unsent: int = 0, **fields) -> Iterator[tuple[str, Service]]:
    """Yields the server's address and what it serves; its sockets hold about `unsent` bytes, 0: as many as usual."""
    settings = Settings(name="tiny", threads=1, **fields)
    app, connection = create_app(model or tiny.int4_model(), settings), partial(Connection, settings.client_s)
    server = uvicorn.Server(uvicorn.Config(app, http=connection, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        if unsent:  # connections take it over
            server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, unsent)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app.state.service
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition, seconds: float = 30) -> None:
    """Poll until true; a failure names the condition by its traceback."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)
