"""One language model, whatever computes it: a Hugging Face directory by torch, an int4 graph by onnxruntime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.engine import Answer, ChatTokenizer, OnnxSession, Sampling, generate
from models.engine.scheduler import Session


@dataclass(frozen=True)
class LanguageModel:
    """A session (logits over slots) and the tokenizer that belongs to it."""

    session: Session
    tokenizer: ChatTokenizer

    @classmethod
    def load(cls, directory: Path, slots: int = 8, length: int = 0, threads: int = 0) -> "LanguageModel":
        """The int4 graph when the directory has one, multiplied in int8 as it is served; else the Hugging Face weights.

        Raises FileNotFoundError when it has neither.
        """
        if (directory / "model.onnx").exists():
            return cls(OnnxSession(directory, slots, length, threads, products="int8"), ChatTokenizer(directory))
        if not (directory / "config.json").exists():
            raise FileNotFoundError(f"{directory}: neither model.onnx nor config.json; expected a model directory")
        from models.torch_session import TorchSession  # torch takes seconds to import

        return cls(TorchSession(directory, slots, length), ChatTokenizer(directory))

    def logits(self, windows: np.ndarray) -> np.ndarray:
        """Logits [B, T, vocabulary] of each window [B, T] read from its start, B up to the session's slots."""
        return self.session.forward(windows, np.zeros(len(windows), np.int64))

    def answer(self, prompts: Sequence[Sequence[int]], sampling: Sequence[Sampling]) -> list[Answer]:
        """Answers to tokenized prompts, batched."""
        return generate(self.session, self.tokenizer, prompts, sampling)


def token_log_probs(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Log-probability [B, T] of `targets` [B, T] under `logits` [B, T, vocabulary]."""
    top = logits.max(axis=-1)
    chosen = np.take_along_axis(logits, targets[..., None].astype(np.int64), axis=-1)[..., 0]
    return chosen - top - np.log(np.exp(logits - top[..., None]).sum(axis=-1))
