"""`fullchain bench-serve`: random words as prompts, so that no two requests share a prefix."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import httpx
from rich.table import Table

from tasks.errors import StageError
from tasks.serve.load import Ask, Goal, closed_loop, open_loop, summary

WORDS = (
    "time",
    "river",
    "stone",
    "light",
    "paper",
    "music",
    "winter",
    "garden",
    "letter",
    "market",
    "island",
    "bridge",
)


def run_load(
    url: str, model: str, clients: int, rate: float, requests: int, prompt: int, tokens: int, goal: Goal
) -> dict[str, Any]:
    """The summary of one run. Raises StageError when the server cannot be reached or serves no model."""
    base = url.rstrip("/").removesuffix("/v1")
    key = os.environ.get("FULLCHAIN_API_KEY", "")
    numbers = random.Random(0)
    body = {"model": model or _first_model(base, key), "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    texts = (" ".join(numbers.choices(WORDS, k=prompt)) for _ in range(requests))
    asks = [Ask("/v1/completions", body | {"prompt": text}) for text in texts]
    run = open_loop(base, asks, rate, key) if rate else closed_loop(base, asks, clients, key)
    seen, seconds = asyncio.run(run)
    return {"load": f"{rate:g} per second" if rate else f"{clients} clients"} | summary(seen, seconds, goal)


def _first_model(url: str, key: str) -> str:
    try:
        answer = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=30)
        return answer.raise_for_status().json()["data"][0]["id"]
    except (httpx.HTTPError, ValueError, LookupError) as error:
        raise StageError(f"{url}/v1/models: {error}; expected the address of an OpenAI-compatible server") from error


def load_table(result: dict[str, Any]) -> Table:
    """One line per figure."""
    table = Table("", "", box=None, pad_edge=False)
    for name, value in result.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name.replace("_", " "), shown)
    return table
