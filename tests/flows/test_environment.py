"""The environment that `prepare` leaves to the libraries and to child processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from flows.environment import prepare

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of its own that names a proxy which does not answer."""
    kept = {k: v for k, v in os.environ.items() if k.lower() not in PROXIES}
    monkeypatch.setattr(os, "environ", kept | {"HTTP_PROXY": NOBODY, "http_proxy": NOBODY})


@pytest.fixture
def url() -> Iterator[str]:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("behind_a_proxy")
@pytest.mark.parametrize("before", ["", "intra.example", "intra.example,127.0.0.1", "*"])
def test_this_machine_is_reached_past_every_proxy(url: str, before: str, tmp_path: Path) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    os.environ["NO_PROXY"] = before
    prepare(tmp_path)
    assert httpx.get(url).status_code == 200
    assert set(before.split(",")) - {""} <= set(os.environ["no_proxy"].split(","))


@pytest.mark.usefixtures("behind_a_proxy")
def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    os.environ["PREFECT_API_URL"] = "http://prefect.example/api"
    prepare(tmp_path)
    assert os.environ["PREFECT_API_URL"] == "http://prefect.example/api"
    assert os.environ["DO_NOT_TRACK"] == "true"
