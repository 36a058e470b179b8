"""The chat trial: every request streamed and whole, all at once, as many clients would send them."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from tasks.apply.chat import Latency, stream_chat
from tasks.apply.stage import ApplyConfig
from tasks.poems import regular_poems
from tasks.poet_requests import compose
from tasks.stage import Output
from tasks.verse import matches_form

if TYPE_CHECKING:
    from openai import OpenAI

MODEL = "model"
GREETINGS = ("你好", "你是谁？", "Hello! Who are you?", "Name three colours.")  # for a corpus without regular verse


@dataclass(frozen=True)
class ChatRequest:
    """What is asked, and the verse form that the answer should have, if any."""

    prompt: str
    form: str = ""


@dataclass
class Exchange:
    """One request with its two answers."""

    request: ChatRequest
    streamed: str = ""
    whole: str = ""
    ended: str = ""
    latency: Latency = field(default_factory=Latency)

    def record(self) -> dict[str, Any]:
        checks = {"same": self.streamed == self.whole, "ended": self.ended}
        if self.request.form:
            checks["form"] = matches_form(self.whole, self.request.form)
        return {"prompt": self.request.prompt, "answer": self.whole, "checks": checks}


def chat_requests(cfg: ApplyConfig, corpus: Path) -> list[ChatRequest]:
    """The configured questions, or requests for verse made from validation poems, or greetings."""
    if cfg.questions:
        return [ChatRequest(question) for question in cfg.questions]
    draw = random.Random(cfg.seed)
    made = (compose(poem, draw) for poem in islice(regular_poems(corpus, "validation"), cfg.chats))
    return [ChatRequest(r.prompt, r.check["form"]) for r in made] or [ChatRequest(text) for text in GREETINGS]


def try_chats(
    cfg: ApplyConfig, client: "OpenAI", requests: list[ChatRequest], out: Output
) -> tuple[dict[str, Any], dict[str, float]]:
    """Transcripts with their rates, and latencies: one client alone first, then all at once."""
    exchanges = [Exchange(request) for request in requests]
    with out.progress("chat trial", 2 * len(exchanges)) as bar:
        started = time.monotonic()
        with ThreadPoolExecutor(len(exchanges)) as pool:
            for _ in pool.map(lambda number: _stream(cfg, client, exchanges[number], number), range(len(exchanges))):
                bar.advance()
        seconds = time.monotonic() - started
        for number, exchange in enumerate(exchanges):
            _whole(cfg, client, exchange, number)
            bar.advance()
    records = [exchange.record() for exchange in exchanges]
    rates = {
        "chat_answered": fmean(bool(record["answer"].strip()) for record in records),
        "chat_streamed_same": fmean(record["checks"]["same"] for record in records),
    }
    formed = [record["checks"]["form"] for record in records if "form" in record["checks"]]
    rates |= {"chat_form": fmean(formed)} if formed else {}
    latency = {
        "first_token_ms": 1000 * median(exchange.latency.first_token_s for exchange in exchanges),
        "tokens_per_s": sum(exchange.latency.tokens for exchange in exchanges) / seconds,
    }
    return {"rates": rates, "transcripts": records}, {name: round(value, 2) for name, value in latency.items()}


def _sampling(cfg: ApplyConfig, number: int) -> dict[str, Any]:
    return {"temperature": cfg.temperature, "max_tokens": cfg.max_tokens, "seed": cfg.seed + number}


def _stream(cfg: ApplyConfig, client: "OpenAI", exchange: Exchange, number: int) -> None:
    messages = [{"role": "user", "content": exchange.request.prompt}]
    exchange.streamed = "".join(stream_chat(client, MODEL, messages, exchange.latency, **_sampling(cfg, number)))


def _whole(cfg: ApplyConfig, client: "OpenAI", exchange: Exchange, number: int) -> None:
    messages = [{"role": "user", "content": exchange.request.prompt}]
    reply = client.chat.completions.create(model=MODEL, messages=messages, **_sampling(cfg, number))
    exchange.whole, exchange.ended = reply.choices[0].message.content or "", reply.choices[0].finish_reason
