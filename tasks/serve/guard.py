"""What every request passes: key, rate and size limits, the count and the access log (never a word of a prompt)."""

import asyncio
import contextlib
import ipaddress
import json
import logging
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.serve.accounts import Accounts, network
from tasks.serve.errors import ApiError
from tasks.serve.keys import Keys
from tasks.serve.metrics import Traffic
from tasks.serve.settings import Settings

log = logging.getLogger("fullchain.access")

OPEN_PATHS = ("/", "/health")  # the page asks for the key itself
KNOWN_PATHS = {
    "/", "/health", "/metrics", "/openapi.json", "/tokenize",
    "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings",
}  # fmt: skip
REST_BYTES, REST_S = 16_777_216, 10  # of a body that is too large, read before its client is told
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # half of a character, or a good pair of halves


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys, metrics: Traffic):
        self.app, self.settings, self.keys, self.metrics = app, settings, keys, metrics
        self.accounts = Accounts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.monotonic(), 499  # nobody there to take an answer, as nginx logs it

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self._checked(scope, receive, counted)
        finally:
            self._note(scope, status, time.monotonic() - started)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(headers)
            self._admit(scope, headers)
            async with asyncio.timeout(self.settings.client_s):
                body = await self._body(scope, headers, receive)
            _check_characters(body)
        except TimeoutError:
            late = ApiError(408, f"the request did not come within {self.settings.client_s:g} s", code="timeout")
            return await late.response()(scope, receive, send)
        except ApiError as error:
            return await error.response()(scope, receive, send)
        return await self.app(scope, _replay(body, receive), send)

    def _check_host(self, headers: dict[str, str]) -> None:
        """A loopback server answers only to loopback names: a web page elsewhere cannot point its own name here."""
        name = re.sub(r":\d+$", "", headers.get("host", ""))
        if is_loopback(self.settings.host) and name not in LOCAL_NAMES:
            raise ApiError(403, f"host: {name!r} is no name of this machine's loopback", code="forbidden_host")

    def _admit(self, scope: Scope, headers: dict[str, str]) -> None:
        """Find who pays; whoever comes with an account was let in by the door before this one."""
        state = scope.setdefault("state", {})
        if "account" not in state:
            state["account"] = self.accounts.of(self._client(scope, headers))
            if scope["path"] not in OPEN_PATHS:
                state["account"].admit()

    def _client(self, scope: Scope, headers: dict[str, str]) -> str:
        """Who asks: the owner of a key where keys are needed, else an address."""
        if not self.keys.needed or scope["path"] in OPEN_PATHS:
            return network((scope.get("client") or ("-",))[0])
        owner = self.keys.owner(headers.get("authorization", ""))
        if owner is None:
            raise ApiError(401, "a valid API key is needed: Authorization: Bearer KEY", code="invalid_api_key")
        return owner

    async def _body(self, scope: Scope, headers: dict[str, str], receive: Receive) -> bytes:
        """The whole body, read here so that its size is known whatever the headers claim."""
        if scope["method"] == "POST" and headers.get("content-type", "").split(";")[0] != "application/json":
            raise ApiError(415, "content-type: expected application/json")
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.settings.max_body_bytes:
                if more:
                    await _discard(receive)
                raise ApiError(413, f"the body is larger than {self.settings.max_body_bytes} bytes", code="too_large")
        return body

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in KNOWN_PATHS else "other"
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.duration.labels(path).observe(seconds)
        client = (scope.get("client") or ("-",))[0]
        log.info("%s %s %s %d %.3f s", client, scope["method"], path, status, seconds)


def _check_characters(body: bytes) -> None:
    """JSON may escape half of a character, which is no text. What is no JSON is the app's to refuse."""
    if not SURROGATE.search(body):
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiError(400, "the body has half of a surrogate pair; expected whole characters") from None
    except (ValueError, RecursionError):
        return


async def _discard(receive: Receive) -> None:
    """Read on for a while: a client that is still sending reads no answer, and one cut off may never see it."""
    left = REST_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REST_S):
            while left > 0 and (message := await receive())["type"] == "http.request":
                left = left - len(message.get("body", b"")) if message.get("more_body") else 0


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body read already, then what the client does next (hang up)."""
    unread = [body]

    async def replayed() -> Message:
        return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

    return replayed
