"""What the endpoints share: one model, its engine, its tokenizer and the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.engine import ChatTokenizer, Engine, Limits, OnnxSession, Sampling, sampling_defaults
from tasks.serve.answering import Answering
from tasks.serve.errors import ApiError, as_api_error
from tasks.serve.metrics import Metrics
from tasks.serve.settings import Settings


@dataclass(frozen=True)
class Service:
    """One served model."""

    settings: Settings
    tokenizer: ChatTokenizer
    engine: Engine
    metrics: Metrics
    defaults: dict[str, Any]

    @classmethod
    def load(cls, model_dir: Path, settings: Settings) -> "Service":
        """Load a directory of the quantize stage. Raises what OnnxSession and ChatTokenizer raise."""
        session = OnnxSession(model_dir, settings.slots, settings.context, settings.threads, settings.spin)
        tokenizer = ChatTokenizer(model_dir)
        engine = Engine(session, tokenizer, settings.queue, Limits(settings.chunk))
        return cls(settings, tokenizer, engine, Metrics(engine), sampling_defaults(model_dir))

    def check_model(self, name: str) -> None:
        if name != self.settings.name:
            message = f"model: {name!r} is not served here; expected {self.settings.name!r}"
            raise ApiError(404, message, "model", "model_not_found")

    def answer(self, prompt: Sequence[int], sampling: Sampling) -> Answering:
        """Submit a prompt; what the engine refuses becomes an ApiError."""
        try:
            return Answering(self.engine, prompt, sampling, self.settings.timeout_s, self.metrics)
        except Exception as error:
            raise as_api_error(error) from error
