"""What the endpoints share: one model, its engine, its tokenizer and the settings."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from models.engine import (
    ChatTokenizer,
    Emit,
    Engine,
    Limits,
    OnnxSession,
    Products,
    PromptTooLong,
    Request,
    Sampling,
    Vocabulary,
    read_adapters,
    sampling_defaults,
)
from tasks.serve.accounts import Account
from tasks.serve.answering import Answering, Answers
from tasks.serve.errors import ApiError, as_api_error
from tasks.serve.metrics import Metrics
from tasks.serve.pages import large_pages
from tasks.serve.settings import Settings

FEW_SLOTS = 4  # answers at once up to which blockwise products are the quicker ones (bench/README.md)


@dataclass
class Model:
    """A model in memory; a request stays with the one that it met."""

    tokenizer: ChatTokenizer
    engine: Engine
    vocabulary: Vocabulary
    defaults: dict[str, Any]
    settings: Settings
    metrics: Metrics
    users: int = 0  # requests that are with it

    @classmethod
    def load(cls, model_dir: Path, settings: Settings, metrics: Metrics) -> "Model":
        """Load a directory of the quantize stage. Raises what OnnxSession and ChatTokenizer raise."""
        with large_pages():
            session = OnnxSession(
                model_dir, settings.slots, settings.context, settings.threads, settings.spin,
                products=_products(settings), drafts=settings.takes_drafts,
                adapters=read_adapters(settings.adapters, model_dir) if settings.adapters else (),
            )  # fmt: skip
        tokenizer = ChatTokenizer(model_dir)
        vocabulary = Vocabulary(model_dir, session.vocab_size, sorted(tokenizer.stop_ids))
        engine = Engine(session, tokenizer, settings.queue, _limits(settings, session), vocabulary)
        return cls(tokenizer, engine, vocabulary, sampling_defaults(model_dir), settings, metrics)

    @property
    def names(self) -> list[str]:
        """What requests may call the model: by its name alone, or with one of its adapters."""
        return [self.settings.name, *(f"{self.settings.name}:{adapter}" for adapter in self.engine.session.adapters)]

    def adapter(self, name: str) -> int:
        """The number of the adapter that a model's name asks for, 0 for none. Raises ApiError for other models."""
        if name not in self.names:
            message = f"model: {name!r} is not served here; expected {' or '.join(map(repr, self.names))}"
            raise ApiError(404, message, "model", "model_not_found")
        return self.names.index(name)

    def check_tokens(self, tokens: Iterable[int], param: str) -> None:
        """Raises ApiError for ids that are no tokens of the model."""
        size = self.engine.session.vocab_size
        if not all(0 <= token < size for token in tokens):
            raise ApiError(400, f"{param}: a token id is out of range; expected 0 to {size - 1}", param)

    def check_size(self, *texts: str) -> None:
        """Raises PromptTooLong for texts that cannot fit the context, before they are made tokens."""
        least = sum(map(self.tokenizer.tokens_at_least, texts))
        if least > self.engine.scheduler.length:
            raise PromptTooLong(f"the prompt has at least {least} tokens; {self.engine.scheduler.length - 1} fit here")

    async def answers(
        self, read: Callable[[], tuple[list[int], Sampling]], account: Account, name: str, count: int, param: str
    ) -> Answers:
        """Submit what `read` makes of a request, `count` times, each with a seed of its own.

        `read` may take its time: it runs in a thread, and so is the grammar compiled. `account` pays for the prompt
        once and for every answer. What cannot be answered becomes an ApiError that names `param`.
        """
        adapter = self.adapter(name)

        def ready() -> tuple[list[int], Sampling]:
            prompt, sampling = read()
            if sampling.grammar:
                self.vocabulary.matcher(sampling.grammar)
            return prompt, sampling

        try:
            self.engine.check_door()
            prompt, sampling = await asyncio.to_thread(ready)
            self.check_tokens(sampling.logit_bias, "logit_bias")
        except Exception as error:
            raise as_api_error(error, param) from error
        prepare = partial(self.engine.scheduler.prepare, prompt, adapter=adapter)
        answers = self._submit([partial(prepare, _numbered(sampling, n)) for n in range(count)], account, param)
        account.spend(len(prompt))
        return answers

    async def embeddings(self, read: Callable[[], list[list[int]]], account: Account, name: str, param: str) -> Answers:
        """Submit the texts that `read` makes of a request, as one; otherwise as `answers` does."""
        adapter = self.adapter(name)
        try:
            self.engine.check_door()
            texts = await asyncio.to_thread(read)
        except Exception as error:
            raise as_api_error(error, param) from error
        prepare = partial(self.engine.scheduler.prepare_texts, texts, adapter=adapter)
        answers = self._submit([prepare], account, param)
        account.spend(sum(map(len, texts)))
        return answers

    def _submit(self, asked: Sequence[Callable[[Emit], Request]], account: Account, param: str) -> Answers:
        """All of them, or none."""
        started: list[Answering] = []
        try:
            for prepare in asked:
                started.append(Answering(self.engine, prepare, self.settings.timeout_s, self.metrics, account))
        except Exception as error:
            Answers(started).cancel()
            raise as_api_error(error, param) from error
        return Answers(started)


def _numbered(sampling: Sampling, number: int) -> Sampling:
    """The sampling of one of several answers."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + number)


def _products(settings: Settings) -> Products:
    if settings.products == "auto":
        return "mixed" if settings.slots <= FEW_SLOTS else "int8"
    return settings.products


def _limits(settings: Settings, session: OnnxSession) -> Limits:
    size = session.cache.position_bytes / 1e6
    positions = int(settings.kv_mb / size)
    if settings.kv_mb and positions < 2:
        raise ValueError(f"kv_mb: {settings.kv_mb} MB hold no prompt and answer; a token takes {size:.2f} MB")
    return Limits(settings.chunk, settings.guess, positions, int(settings.prefix_mb / size))


class Service:
    """The settings, the counters, and the model served now."""

    def __init__(self, model_dir: Path, settings: Settings):
        self.settings, self.metrics = settings, Metrics(lambda: self.engine)
        self.model, self.model_dir = Model.load(model_dir, settings, self.metrics), model_dir
        self._lock, self._draining = threading.Lock(), False

    @property
    def engine(self) -> Engine:
        return self.model.engine

    @asynccontextmanager
    async def using(self) -> AsyncIterator[Model]:
        """The model served now, which is not closed meanwhile."""
        with self._lock:
            model = self.model
            model.users += 1
        try:
            yield model
        finally:
            with self._lock:
                model.users -= 1

    def drain(self) -> None:
        """Take no new requests, whatever the model; those under way go on."""
        self._draining = True
        self.engine.drain()

    def replace(self, model_dir: Path) -> None:
        """Serve another model from now on. Answers under way end with the one that began them; then it is closed.

        Raises what `Model.load` raises, and then serves on as before. Both models are in memory for that time.
        The model served now is not loaded again.
        """
        if model_dir == self.model_dir:
            return
        new = Model.load(model_dir, self.settings, self.metrics)
        with self._lock:
            old, self.model, self.model_dir = self.model, new, model_dir
        if self._draining:
            new.engine.drain()
        while old.users or not old.engine.idle:
            time.sleep(0.1)
        old.engine.close()
