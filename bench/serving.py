"""Servers under load: what is asked of them, how they are started, and what they took for it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.engine import ChatTokenizer
from tasks.serve.load import Ask, Goal, closed_loop, summary
from tasks.sources import open_source
from tasks.sources.records import Record

ROOT = Path(__file__).parent.parent
PORT = {"ours": 8231, "llama": 8232}
QUEUE = 64  # requests that may wait for a slot of ours
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What the clients do: `clients` at once, `requests` in all, so many tokens of prompt, of which some are shared.

    `look` names the kind of load for which llama.cpp's best setting is looked for.
    """

    name: str
    clients: int
    requests: int
    prompt: int
    answer: int
    shared: int = 0
    metric: str = "tokens_per_s"
    look: str = "many"

    @property
    def length(self) -> int:
        """Tokens of a slot that holds one request."""
        return -(-(self.prompt + self.answer + 8) // 256) * 256


@dataclass
class Server:
    """A server under test."""

    url: str
    process: subprocess.Popen

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Texts:
    """Prompts as tokens, never the same twice."""

    def __init__(self, tokenizer: ChatTokenizer):
        documents = open_source("enwiki-extract").records()
        text = "\n\n".join(record.data["text"] for record in documents if isinstance(record, Record))
        self.tokenizer, self.tokens, self.at = tokenizer, tokenizer.encode(text), 0

    def take(self, count: int) -> list[int]:
        if self.at + count > len(self.tokens):
            self.at = self.at % 97 + 1
        self.at += count
        return self.tokens[self.at - count : self.at]

    def asks(self, load: Load) -> list[Ask]:
        shared = self.take(load.shared)
        body = {"model": "bench", "max_tokens": load.answer, "temperature": 0, "ignore_eos": True}
        prompts = (shared + self.take(load.prompt - load.shared) for _ in range(load.requests))
        return [Ask("/v1/completions", body | {"prompt": prompt}) for prompt in prompts]


def measure(server: Server, asks: list[Ask], load: Load) -> dict[str, Any]:
    """One run; a failed request fails the bench, and so does an answer of another length than asked for."""
    before = server.cpu_seconds()
    seen, seconds = asyncio.run(closed_loop(server.url, asks, load.clients))
    result = summary(seen, seconds, Goal())
    if result["failed"]:
        raise SystemExit(f"{load.name}: {result['failed']} requests failed: {result['errors']}")
    if result["tokens"] != len(asks) * load.answer:
        raise SystemExit(f"{load.name}: {result['tokens']} tokens came, expected {len(asks)} x {load.answer}")
    result["cpu_s"] = server.cpu_seconds() - before
    result["prompt_per_s"] = result["prompt_tokens"] / seconds
    return result


@contextmanager
def running(name: str, command: list[Any]) -> Iterator[Server]:
    """A server until the block ends."""
    with tempfile.TemporaryFile() as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment)
        server = Server(f"http://127.0.0.1:{PORT[name]}", process)
        try:
            _wait(server, log)
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _wait(server: Server, log: Any) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
        if server.process.poll() is not None:
            log.seek(0)
            raise SystemExit(f"a server did not start:\n{log.read()[-2000:].decode(errors='replace')}")
    raise SystemExit(f"{server.url} does not answer")


def our_command(model: Path, threads: int, slots: int, length: int, *options: str) -> list[Any]:
    limits = ["--slots", slots, "--context", length, "--threads", threads, "--queue", QUEUE]
    command = [sys.executable, "-m", "tasks.serve", model, "--name", "bench", "--port", PORT["ours"]]
    return [*command, "--spin", *limits, *options]  # as llama.cpp's threads do
