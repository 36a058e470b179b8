"""What the endpoints share: one model, its engine, its tokenizer and the settings."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.engine import (
    ChatTokenizer,
    Engine,
    Limits,
    OnnxSession,
    Products,
    Sampling,
    Vocabulary,
    read_adapters,
    sampling_defaults,
)
from tasks.serve.accounts import Account
from tasks.serve.answering import Answering, Answers
from tasks.serve.errors import ApiError, as_api_error
from tasks.serve.metrics import Metrics
from tasks.serve.settings import Settings

FEW_SLOTS = 4  # answers at once up to which blockwise products are the quicker ones (bench/README.md)


@dataclass(frozen=True)
class Model:
    """A model in memory."""

    tokenizer: ChatTokenizer
    engine: Engine
    defaults: dict[str, Any]

    @classmethod
    def load(cls, model_dir: Path, settings: Settings) -> "Model":
        """Load a directory of the quantize stage. Raises what OnnxSession and ChatTokenizer raise."""
        session = OnnxSession(
            model_dir, settings.slots, settings.context, settings.threads, settings.spin,
            products=_products(settings), drafts=settings.guess > 0,
            adapters=read_adapters(settings.adapters, model_dir) if settings.adapters else (),
        )  # fmt: skip
        tokenizer = ChatTokenizer(model_dir)
        vocabulary = Vocabulary(model_dir, session.vocab_size, sorted(tokenizer.stop_ids))
        size = session.cache.position_bytes / 1e6
        limits = Limits(settings.chunk, settings.guess, int(settings.kv_mb / size), int(settings.prefix_mb / size))
        engine = Engine(session, tokenizer, settings.queue, limits, vocabulary)
        return cls(tokenizer, engine, sampling_defaults(model_dir))


def _products(settings: Settings) -> Products:
    if settings.products == "auto":
        return "mixed" if settings.slots <= FEW_SLOTS else "int8"
    return settings.products


class Service:
    """The settings, the counters, and the model served now."""

    def __init__(self, model_dir: Path, settings: Settings):
        self.settings, self.model = settings, Model.load(model_dir, settings)
        self.metrics = Metrics(lambda: self.engine)

    @property
    def engine(self) -> Engine:
        return self.model.engine

    @property
    def tokenizer(self) -> ChatTokenizer:
        return self.model.tokenizer

    @property
    def defaults(self) -> dict[str, Any]:
        return self.model.defaults

    def replace(self, model_dir: Path) -> None:
        """Serve another model from now on. Answers under way end with the one that began them; then it is closed.

        Raises what `Model.load` raises, and then serves on as before. Both models are in memory for that time.
        """
        old, self.model = self.model, Model.load(model_dir, self.settings)
        while old.engine.running or old.engine.waiting:
            time.sleep(0.1)
        old.engine.close()

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

    def answers(
        self, prompt: Sequence[int], sampling: Sampling, account: Account, model: str, count: int = 1
    ) -> Answers:
        """Submit a prompt `count` times, each with a seed of its own; what the engine refuses becomes an ApiError.

        `account` pays for the prompt once and for every answer.
        """
        if not all(0 <= token < self.engine.session.vocab_size for token in sampling.logit_bias):
            raise ApiError(400, f"logit_bias: a token id is beyond {self.engine.session.vocab_size - 1}", "logit_bias")
        adapter = self.adapter(model)
        started: list[Answering] = []
        try:
            for number in range(count):
                seed = None if sampling.seed is None else sampling.seed + number
                how = replace(sampling, seed=seed) if count > 1 else sampling
                started.append(
                    Answering(self.engine, prompt, how, self.settings.timeout_s, self.metrics, account, adapter)
                )
        except Exception as error:
            Answers(started).cancel()
            raise as_api_error(error) from error
        account.spend(len(prompt))
        return Answers(started)
