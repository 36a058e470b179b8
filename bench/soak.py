"""Our server under mixed load for a while: clients that behave, then the same beside hostile ones.

    python -m bench.soak [--minutes 10] [--model DIR]       # DIR: a serving package; SmolLM2-135M int4 when not given

A quarter of the time the good clients are alone. Then come bodies that are no JSON, prompts that are too long, schemas
that nothing satisfies, requests that end halfway, readers that never read, clients that vanish mid-answer, and bursts
beyond the queue. Exits with 1 on a status of 500 or above, a slot that stays taken, memory that grows, a greedy answer
that changes, a good client without an answer, a wrong status, a bad body that was never refused for what it is, or
a p99 of the first token beyond that of the run alone by more than a full queue takes (the median answer's time alone,
times queue / slots + 1); says which of them it was.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.serve_model import int4_graph
from bench.serving import QUEUE, ROOT, Server, our_command, running
from tasks.serve.load import Ask, Goal, Seen, stream, summary

GOOD, HOSTILE, SLOTS, CONTEXT = 4, 6, 8, 512
TAIL = QUEUE / SLOTS + 1  # answers that pass before a good client's own begins, when it comes last to a full queue
GROWTH = 1.1  # resident memory at the end over that of the first hostile minute: more is a leak
CHAT = {"model": "bench", "max_tokens": 32, "temperature": 0, "ignore_eos": True}
TEXTS = (
    "the river and the stone",
    "写一首关于月亮的诗",
    "a list of prime numbers: 2, 3, 5,",
    "Paris is the capital of",
)
NEVER = {"type": "json_schema", "json_schema": {"schema": {"type": "integer", "minimum": 5, "maximum": 1}}}
LATE = {400, 429}  # what a body asks for is not looked into while the queue, filled by a burst, takes nothing
BAD: tuple[tuple[bytes, set[int]], ...] = (
    (b"{", {400}),
    (b"\xff\xfe", {400}),
    (json.dumps(CHAT | {"prompt": "x", "model": "another"}).encode(), {404}),
    (json.dumps(CHAT | {"prompt": "x", "temperature": -1}).encode(), {400}),
    (json.dumps(CHAT | {"prompt": "x " * 20_000}).encode(), LATE),
    (json.dumps(CHAT | {"prompt": "x", "stop": ["a"] * 10_000}).encode(), {400}),
    (json.dumps(CHAT | {"prompt": "x", "structured_outputs": {"json": NEVER["json_schema"]["schema"]}}).encode(), LATE),
    (json.dumps(CHAT | {"prompt": "x", "structured_outputs": {"regex": "(["}}).encode(), LATE),
    (b" " * 2_000_000, {413}),
)


@dataclass
class Notes:
    """What was seen."""

    good: list[Seen] = field(default_factory=list)
    refused: int = 0  # good requests that had to come again
    hostile: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    looked_into: set[bytes] = field(default_factory=set)  # bad bodies that were refused for what they are


async def good_client(url: str, number: int, until: float, notes: Notes) -> None:
    """Asks, reads, thinks a little, asks again; comes again when told to."""
    numbers = random.Random(number)
    while time.monotonic() < until:
        ask = Ask("/v1/completions", CHAT | {"prompt": numbers.choice(TEXTS)})
        seen = await stream(url, ask)
        if seen.status == 429:
            notes.refused += 1
            await asyncio.sleep(1)
            continue
        notes.good.append(seen)
        await asyncio.sleep(numbers.random() / 5)


async def hostile_client(url: str, number: int, until: float, notes: Notes) -> None:
    numbers = random.Random(number)
    while time.monotonic() < until:
        attack = numbers.choice((bad_body, bad_body, half_a_request, never_reads, vanishes, burst))
        try:
            async with asyncio.timeout(30):
                await attack(url, numbers, notes)
            notes.hostile[attack.__name__] += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            notes.hostile[f"{attack.__name__}: {type(error).__name__}"] += 1
        await asyncio.sleep(numbers.random() / 5)


async def bad_body(url: str, numbers: random.Random, notes: Notes) -> None:
    body, expected = numbers.choice(BAD)
    status = await post(url, body)
    if status == min(expected):
        notes.looked_into.add(body)
    elif status not in expected:
        notes.wrong.append(f"{status} instead of {min(expected)} for {body[:60]!r}")


async def half_a_request(url: str, numbers: random.Random, _: Notes) -> None:
    _, writer = await begin(url, b'{"model": "bench", ', length=1000)
    await asyncio.sleep(numbers.random() * 2)
    writer.close()


async def never_reads(url: str, numbers: random.Random, _: Notes) -> None:
    _, writer = await begin(url, json.dumps(CHAT | {"prompt": "x", "stream": True, "max_tokens": 200}).encode())
    await asyncio.sleep(numbers.random() * 5)
    writer.close()


async def vanishes(url: str, _: random.Random, __: Notes) -> None:
    reader, writer = await begin(url, json.dumps(CHAT | {"prompt": "y", "stream": True, "max_tokens": 400}).encode())
    await reader.readuntil(b"data: ")
    writer.close()


async def burst(url: str, _: random.Random, notes: Notes) -> None:
    """More at once than may wait."""
    body = json.dumps(CHAT | {"prompt": "z", "max_tokens": 1}).encode()
    statuses = await asyncio.gather(*(post(url, body) for _ in range(100)))
    notes.wrong += [f"{status} in a burst" for status in statuses if status not in (200, 429)]


async def begin(url: str, body: bytes, length: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has sent a request, or a part of it."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body)
    return reader, writer


async def post(url: str, body: bytes) -> int:
    """The status that answers it."""
    reader, writer = await begin(url, body)
    try:
        status = int((await reader.readline()).split()[1])
        await reader.read()
        return status
    finally:
        writer.close()


async def watch_memory(server: Server, until: float, sizes: list[float]) -> None:
    status = Path(f"/proc/{server.process.pid}/status")
    while time.monotonic() < until:
        sizes.append(int(re.findall(r"VmRSS:\s+(\d+)", status.read_text())[0]) / 1024)
        await asyncio.sleep(1)


async def soak(server: Server, seconds: float) -> tuple[Notes, Notes, list[float]]:
    """The good clients alone, then beside the hostile ones; resident megabytes of the server, second by second."""
    alone, beside, sizes = Notes(), Notes(), list[float]()
    end = time.monotonic() + seconds / 4
    await asyncio.gather(*(good_client(server.url, number, end, alone) for number in range(GOOD)))
    end = time.monotonic() + 3 * seconds / 4
    clients = [good_client(server.url, number, end, beside) for number in range(GOOD)]
    clients += [hostile_client(server.url, number, end, beside) for number in range(HOSTILE)]
    await asyncio.gather(*clients, watch_memory(server, end, sizes))
    return alone, beside, sizes


def answers(url: str) -> list[str]:
    """Greedy answers to all texts, one after the other."""
    said = []
    for text in TEXTS:
        request = urllib.request.Request(
            f"{url}/v1/completions", json.dumps(CHAT | {"prompt": text}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            said.append(json.load(answer)["choices"][0]["text"])
    return said


def at_rest(url: str) -> dict[str, Any]:
    """What the server says of itself once it had time to end what was left."""
    for _ in range(100):
        with urllib.request.urlopen(f"{url}/health", timeout=30) as answer:
            health = json.load(answer)
        if not health["running"] + health["waiting"]:
            break
        time.sleep(0.2)
    return health


def server_errors(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        counts = re.findall(r'fullchain_requests_total\{.*status="5\d\d"\} (\S+)', answer.read().decode())
    return int(sum(map(float, counts)))


def report(alone: Notes, beside: Notes, sizes: list[float], seconds: float) -> dict[str, Any]:
    calm, busy = (summary(notes.good, seconds, Goal()) for notes in (alone, beside))
    minute = min(60, max(len(sizes) // 4, 1))
    before, after = statistics.median(sizes[:minute]), statistics.median(sizes[-minute:])
    p99 = [part["first_token_ms"]["p99"] for part in (calm, busy)]
    ratio = round(p99[0] / max(p99[1], 1e-3), 3)
    answer = 1000 * statistics.median([seen.last for seen in alone.good if not seen.error] or [0.0])
    return {
        "bench": "serve_soak", "ratio": ratio, "min": ratio, "max": ratio, "pairs": 1, "ours": p99[1], "peer": p99[0],
        "unit": "ms, p99 of the first token", "peer_version": "ours, good clients without hostile ones",
        "allowed": round(p99[0] + TAIL * answer, 1),
        "between_tokens_p99_ms": [part["between_tokens_ms"]["p99"] for part in (calm, busy)],
        "good": [calm["requests"], busy["requests"]], "good_failed": calm["failed"] + busy["failed"],
        "good_errors": calm["errors"] + busy["errors"], "good_asked_to_come_again": beside.refused,
        "hostile": dict(beside.hostile.most_common()), "wrong": beside.wrong[:5],
        "never_looked_into": [repr(body[:60]) for body, _ in BAD if body not in beside.looked_into],
        "rss_mb": [round(before), round(after)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    model = args.model or int4_graph(ROOT / ".venv-bench/serve")
    with running("ours", our_command(model, args.threads, SLOTS, CONTEXT)) as server:
        before = answers(server.url)
        alone, beside, sizes = asyncio.run(soak(server, 60 * args.minutes))
        line = report(alone, beside, sizes, 60 * args.minutes)
        line |= {"left": at_rest(server.url), "server_errors": server_errors(server.url)}
        line["agreement"] = "the same greedy answers after it" if answers(server.url) == before else "answers changed"
    line["failed"] = failures(line)
    print(json.dumps(line, ensure_ascii=False))
    sys.exit(bool(line["failed"]))


def failures(line: dict[str, Any]) -> list[str]:
    """What must not be, in words."""
    checks = {
        "statuses of 500 and above": line["server_errors"],
        "good clients without an answer": line["good_failed"],
        "wrong statuses": line["wrong"],
        "bad bodies never refused for what they are": line["never_looked_into"],
        "refusals cut off": sum(n for what, n in line["hostile"].items() if what.startswith("bad_body: Connection")),
        "slots still held": line["left"]["running"] + line["left"]["waiting"],
        "changed greedy answers": line["agreement"] == "answers changed",
        "memory that grew": line["rss_mb"][1] > GROWTH * line["rss_mb"][0],
        "p99 of the first token beyond a full queue": line["ours"] > line["allowed"],
        "nobody was served": not min(line["good"]),
    }
    return [words for words, bad in checks.items() if bad]


if __name__ == "__main__":
    main()
