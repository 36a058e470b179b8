"""A chat over HTTP, streamed, with its latency."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass
class Latency:
    """Seconds to the first token, seconds in all, and tokens of one streamed answer."""

    first_token_s: float = 0.0
    seconds: float = 0.0
    tokens: int = 0


def stream_chat(
    client: "OpenAI", model: str, messages: list[dict[str, Any]], latency: Latency | None = None, **sampling: Any
) -> Iterator[str]:
    """The answer's text, piece by piece; `latency` is filled in on the way. Raises what the client raises."""
    latency = latency or Latency()
    started = time.monotonic()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in client.chat.completions.create(model=model, messages=messages, **options, **sampling):
        if chunk.usage:
            latency.tokens = chunk.usage.completion_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            latency.first_token_s = latency.first_token_s or time.monotonic() - started
            yield chunk.choices[0].delta.content
    latency.seconds = time.monotonic() - started
