"""Many clients, slow ones and ones that vanish: nobody's slot is lost and the others are answered."""

import asyncio
import json
import socket
import time
from http.client import HTTPResponse

import httpx
import psutil
import pytest

from tasks.serve.load import Ask, Goal, closed_loop, open_loop, summary
from tests import tiny
from tests.serving import serving, wait_until

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": tiny.GREETING}], "temperature": 0}
LONG = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 400, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def busy():
    with serving(slots=4, queue=2000) as (url, service):
        yield url, service
        assert service.engine.running == service.engine.waiting == 0


def raw(url: str, body: dict, unread: int = 0, missing: int = 0) -> socket.socket:
    """A connection that has asked, all but the last `missing` bytes, and not read; it holds about `unread` bytes."""
    address = httpx.URL(url)
    connection = socket.socket()
    if unread:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread)
    connection.connect((address.host, address.port))
    content = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[: len(content) - missing])
    return connection


@pytest.mark.slow
def test_a_thousand_connections_at_once_are_all_answered(busy):
    url, _ = busy
    asks = [Ask("/v1/chat/completions", CHAT | {"max_tokens": 2})] * 1000
    seen, seconds = asyncio.run(closed_loop(url, asks, 1000))
    assert summary(seen, seconds, Goal())["errors"] == []
    assert [one.tokens for one in seen] == [2] * 1000


def test_beyond_the_queue_there_is_429_and_nothing_else():
    with serving(slots=1, queue=2) as (url, service):
        asks = [Ask("/v1/chat/completions", CHAT)] * 40
        seen, _ = asyncio.run(closed_loop(url, asks, 40))
        assert {one.status for one in seen} == {200, 429}
        wait_until(lambda: service.engine.running == service.engine.waiting == 0)


def test_clients_that_vanish_leave_no_slot_taken(busy):
    url, service = busy
    vanished = [raw(url, LONG) for _ in range(12)]
    wait_until(lambda: service.engine.running == 4)
    for connection in vanished:
        connection.close()
    wait_until(lambda: service.engine.running == service.engine.waiting == 0)
    assert (
        httpx.post(f"{url}/v1/chat/completions", json=CHAT).json()["choices"][0]["message"]["content"] == tiny.GREETED
    )


def connected(url: str) -> int:
    """Connections that this process, in which the server runs, holds open at the server's end."""
    ends = psutil.Process().net_connections("tcp")
    return sum(end.laddr.port == httpx.URL(url).port and end.status != psutil.CONN_LISTEN for end in ends)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_is_given_up_and_holds_up_no_other(caplog, stream):
    with serving(slots=2, queue=20, client_s=1, unsent=4096) as (url, service):
        ask = LONG | {"n": 4, "logprobs": 5, "stream": stream}  # a megabyte: more than sockets and buffers take unread
        with raw(url, ask, unread=4096):
            wait_until(lambda: service.engine.running > 0)
            assert connected(url) == 1
            reply = httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=60)
            assert reply.json()["choices"][0]["message"]["content"] == tiny.GREETED
            done = 'fullchain_requests_total{path="/v1/completions",status="200"} 1.0'
            wait_until(lambda: done in httpx.get(f"{url}/metrics").text)
            wait_until(lambda: connected(url) == 0)
            assert "took no more of its answer" in caplog.text


def test_a_client_that_reads_slowly_is_not_given_up(caplog):
    with serving(slots=2, queue=20, client_s=1, unsent=4096) as (url, _):
        with raw(url, LONG | {"n": 4, "logprobs": 5, "stream": False}, unread=4096) as connection:
            answer, body, slow_until = HTTPResponse(connection), b"", time.monotonic() + 2.5
            answer.begin()
            while piece := answer.read(4096):
                body += piece
                time.sleep(0.05 if time.monotonic() < slow_until else 0)
        assert len(json.loads(body)["choices"]) == 4
        assert "took no more of its answer" not in caplog.text


@pytest.mark.parametrize(
    ("asked", "sent"), [(False, b""), (False, b"POST /v1/comp"), (True, b"POST / HTTP/1.1\r\nHost: loc")]
)
def test_a_request_whose_head_does_not_come_whole_is_ended(asked, sent):
    with serving(slots=1, client_s=0.3) as (url, _), socket.socket() as connection:
        connection.connect((httpx.URL(url).host, httpx.URL(url).port))
        connection.settimeout(30)
        if asked:
            connection.sendall(b"GET /v1/none HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
        connection.sendall(sent)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 408 ")  # and then the connection ends
        wait_until(lambda: connected(url) == 0)


def test_a_request_that_does_not_come_whole_is_ended():
    with serving(slots=1, client_s=0.2) as (url, _), raw(url, LONG, missing=5) as connection:
        connection.settimeout(30)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_broken_utf8_is_refused(busy):
    headers = {"Content-Type": "application/json"}
    response = httpx.post(
        f"{busy[0]}/v1/completions", content=b'{"model": "tiny", "prompt": "\xff\xfe"}', headers=headers
    )
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_an_open_loop_reports_what_clients_see(busy):
    asks = [Ask("/v1/completions", LONG | {"max_tokens": 5, "prompt": [n + 8, 9]}) for n in range(10)]
    seen, seconds = asyncio.run(open_loop(busy[0], asks, rate=50))
    result = summary(seen, seconds, Goal(first_s=60, per_token_s=60))
    assert (result["requests"], result["failed"], result["tokens"]) == (10, 0, 50)
    assert result["goodput_per_s"] == result["requests_per_s"] > 0
    assert result["first_token_ms"]["p50"] <= result["first_token_ms"]["p99"]
    assert result["normalized_ms"]["p50"] > result["per_token_ms"]["p50"]  # it has the wait for the first token, too
