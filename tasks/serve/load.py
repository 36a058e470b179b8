"""Load on any OpenAI-compatible server, and what its clients see: time to first token, time per token, goodput.

Plain HTTP/1.1 over asyncio, as an HTTP library would take a good part of a core from a server on the same machine.
"""

import asyncio
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 600


@dataclass(frozen=True)
class Ask:
    """One request: where to and what."""

    path: str
    body: dict[str, Any]


@dataclass
class Seen:
    """What one client saw of one answer; times in seconds since the request was sent."""

    status: int = 0
    error: str = ""
    first: float = 0.0
    last: float = 0.0
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    prompt_tokens: int = 0

    @property
    def per_token(self) -> float:
        """Seconds per token after the first."""
        return (self.last - self.first) / max(self.tokens - 1, 1)

    @property
    def normalized(self) -> float:
        """Seconds from request to end per token, the wait for the first included (Kwon et al. 2023, section 6.1)."""
        return self.last / max(self.tokens, 1)


@dataclass(frozen=True)
class Goal:
    """An answer counts towards goodput when it is this quick (Zhong et al. 2024, DistServe)."""

    first_s: float = 2.0
    per_token_s: float = 0.1

    def met(self, seen: Seen) -> bool:
        return not seen.error and seen.first <= self.first_s and seen.per_token <= self.per_token_s


async def stream(url: str, ask: Ask, key: str = "") -> Seen:
    """Send one streaming request and watch its answer. Whatever goes wrong is told in `error`."""
    seen = Seen()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _stream(url, ask, key, seen)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        seen.error = f"{type(error).__name__}: {error}"
    if not seen.error and not seen.tokens:
        seen.error = "the answer has no token"
    return seen


async def closed_loop(url: str, asks: Sequence[Ask], clients: int, key: str = "") -> tuple[list[Seen], float]:
    """`clients` that each send the next request once the last is answered; what they saw, and the seconds it took."""
    pending = list(reversed(asks))
    seen: list[Seen] = []

    async def client() -> None:
        while pending:
            seen.append(await stream(url, pending.pop(), key))

    return seen, await _timed(client() for _ in range(clients))


async def open_loop(
    url: str, asks: Sequence[Ask], rate: float, key: str = "", seed: int = 0
) -> tuple[list[Seen], float]:
    """Requests that arrive at random (a Poisson process), `rate` per second, whatever is still unanswered."""
    random_numbers, seen = random.Random(seed), []
    arrivals = [random_numbers.expovariate(rate) for _ in asks]

    async def arrive(at: float, ask: Ask) -> None:
        await asyncio.sleep(at)
        seen.append(await stream(url, ask, key))

    times = [sum(arrivals[: number + 1]) for number in range(len(asks))]
    return seen, await _timed(arrive(at, ask) for at, ask in zip(times, asks, strict=True))


def summary(seen: Sequence[Seen], seconds: float, goal: Goal) -> dict[str, Any]:
    """Rates and percentiles of a run; times in milliseconds."""
    good = [one for one in seen if not one.error]
    gaps = [gap for one in good for gap in one.gaps]
    return {
        "requests": len(seen),
        "failed": len(seen) - len(good),
        "seconds": round(seconds, 3),
        "prompt_tokens": sum(one.prompt_tokens for one in good),
        "tokens": sum(one.tokens for one in good),
        "tokens_per_s": round(sum(one.tokens for one in good) / seconds, 1),
        "requests_per_s": round(len(good) / seconds, 2),
        "goodput_per_s": round(sum(goal.met(one) for one in good) / seconds, 2),
        "first_token_ms": _percentiles([one.first for one in good]),
        "per_token_ms": _percentiles([one.per_token for one in good if one.tokens > 1]),
        "normalized_ms": _percentiles([one.normalized for one in good]),
        "between_tokens_ms": _percentiles(gaps),
        "errors": sorted({one.error for one in seen if one.error})[:5],
    }


async def _timed(work: Any) -> float:
    started = time.perf_counter()
    await asyncio.gather(*work)
    return time.perf_counter() - started


async def _stream(url: str, ask: Ask, key: str, seen: Seen) -> None:
    where = urlsplit(url)
    secure = ssl.create_default_context() if where.scheme == "https" else None
    port = where.port or (443 if secure else 80)
    body = json.dumps(ask.body | {"stream": True, "stream_options": {"include_usage": True}}).encode()
    head = f"POST {where.path.rstrip('/')}{ask.path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head += f"Authorization: Bearer {key}\r\n\r\n" if key else "\r\n"
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(where.hostname, port, ssl=secure, limit=2**22)
    try:
        writer.write(head.encode() + body)
        seen.status = int((await reader.readline()).split()[1])
        if seen.status != 200:
            seen.error = f"status {seen.status}: {(await reader.read(500)).decode(errors='replace')[-200:]}"
            return
        await _events(reader.readline, seen, started)
    finally:
        writer.close()


async def _events(readline: Callable[[], Awaitable[bytes]], seen: Seen, started: float) -> None:
    """Events until the end; lines between them (headers, sizes of chunks) are none."""
    counted = 0
    while line := await readline():
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            break
        event, now = json.loads(line[6:]), time.perf_counter() - started
        if "error" in event:
            seen.error = str(event["error"])[:200]
        if usage := event.get("usage"):
            seen.tokens, seen.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
        if any(_said(choice) for choice in event.get("choices", ())):
            counted += 1
            seen.first = seen.first or now
            seen.gaps += [now - seen.last] if seen.last else []
            seen.last = now
    seen.tokens = seen.tokens or counted


def _said(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("tool_calls"))


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    marks = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(1000 * ordered[min(int(q * len(ordered)), len(ordered) - 1)], 2) for name, q in marks.items()}
