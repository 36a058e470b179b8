"""The process: a socket, uvicorn, a graceful end on SIGTERM and SIGINT."""

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from tasks.errors import StageError
from tasks.serve.app import create_app
from tasks.serve.connection import Connection
from tasks.serve.guard import is_loopback
from tasks.serve.reload import follow
from tasks.serve.settings import Settings, checked

log = logging.getLogger("fullchain.serve")


def serve(
    model_dir: Path, settings: Settings | None = None, find: Callable[[], Path] | None = None, **fields: Any
) -> None:
    """Serve a directory of the quantize stage until SIGTERM or SIGINT; running answers get `drain_s` seconds to end.

    `fields` are those of Settings, when no settings are given. `find` says where the model is now: it is asked every
    `reload_s` seconds, and another directory is served without a pause. Clients that come while the model loads wait.

    Raises:
        StageError: a setting is out of bounds, the address cannot be had, the keys cannot be read, or the directory
            holds no model that can be served.
    """
    settings = settings or checked(fields)
    warn_if_open(settings)
    with _listen(settings.host, settings.port) as listener:
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})  # for 0, the one that it got
        app = _load(model_dir, settings)
        config = uvicorn.Config(
            app, http=partial(Connection, settings.client_s), log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=settings.drain_s,
        )  # fmt: skip
        if find:
            follow(app.state.replace, model_dir, find, settings.reload_s)
        _Server(config, app.state.drain, settings, listener).run(sockets=[listener])


def warn_if_open(settings: Settings) -> None:
    """Say it loudly when other machines may use the model without a key."""
    if settings.api_key is None and settings.api_keys_file is None and not is_loopback(settings.host):
        log.warning(
            "WARNING: whoever reaches %s may use this model without a key; set FULLCHAIN_API_KEY, or serve 127.0.0.1",
            settings.host or "this machine",
        )


def _load(model_dir: Path, settings: Settings) -> FastAPI:
    try:
        if settings.replicas > 1:
            from tasks.serve.replicas import create_front

            return create_front(model_dir, settings)
        return create_app(model_dir, settings)
    except StageError:
        raise
    except Exception as error:  # onnxruntime and tokenizers have no narrower class for damaged files
        log.debug("loading failed", exc_info=True)
        raise StageError(
            f"{model_dir} cannot be served: {type(error).__name__}: {error}; expected a directory of the quantize "
            "stage; build it again (`fullchain doctor` finds damaged artifacts)"
        ) from error


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready, refuses new work once told to stop, and then ends with status 0."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], settings: Settings, listener: socket.socket):
        super().__init__(config)
        self._drain, self._settings, self._listener = drain, settings, listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("serving %s at %s", self._settings.name, url)
        if self._settings.attached:
            threading.Thread(target=self._end_with_input, daemon=True).start()
        if self._settings.ready_file:
            _write(self._settings.ready_file, {"url": url, "port": port, "pid": os.getpid()})

    def _end_with_input(self) -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock, held by this thread, would abort the interpreter's end
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        log.info("signal %d: no new requests, running ones get %d s", sig, self._settings.drain_s)
        self._drain()
        self.force_exit = self.should_exit  # told twice: now
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # else another server may bind it, too, while this one loads
    except OSError as error:
        listener.close()
        raise StageError(f"port {port} on {host} cannot be had ({error.strerror}); choose another") from error
    return listener


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content))
    part.replace(path)
