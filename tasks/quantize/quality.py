"""What quantization cost: the int4 graph against the full-precision model, token by token on validation text."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from models.language_model import LanguageModel
from tasks.validation import ValidationText, batches, rows_at_once

ROWS = 8  # windows compared at once, at most


@dataclass(frozen=True)
class Quality:
    """Means over the compared tokens; KL(full || int4) in nats; sizes in bytes of weights and graph."""

    tokens: int
    top1_agreement: float
    mean_kl: float
    bits_per_byte_full: float
    bits_per_byte_int4: float
    bits_per_byte_ratio: float
    bytes_full: int
    bytes_int4: int

    def rounded(self) -> dict[str, int | float]:
        """Six digits: what lies beyond differs between machines."""
        return {field.name: round(getattr(self, field.name), 6) for field in fields(self)}


def compare(
    full: LanguageModel,
    int4: LanguageModel,
    text: ValidationText,
    sizes: tuple[int, int],
    advance: Callable[[int], None],
) -> Quality:
    """Compare both models on the same text; `advance(n)` hears of windows done."""
    sums = np.zeros(4)
    rows = rows_at_once(text.windows, full.session.vocab_size, ROWS)
    for inputs, targets, scored in batches(text.windows, rows):
        sums += _sums(full.logits(inputs), int4.logits(inputs), targets, scored)
        advance(len(inputs))
    agreement, divergence, nats_full, nats_int4 = sums.tolist()
    bits = np.array([nats_full, nats_int4]) / np.log(2) / text.bytes
    count = text.scored
    return Quality(count, agreement / count, divergence / count, *bits.tolist(), nats_int4 / nats_full, *sizes)


def _sums(full: np.ndarray, int4: np.ndarray, targets: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Agreeing tokens, sum of KL(full || int4), and both sums of negative log-likelihood, where scored."""
    before, after = (torch.from_numpy(x[scored]).float().log_softmax(-1) for x in (full, int4))  # [N, vocabulary]
    divergence = torch.nn.functional.kl_div(after, before, reduction="none", log_target=True).sum(-1)
    agreeing = before.argmax(-1) == after.argmax(-1)
    aims = torch.from_numpy(targets[scored])[:, None]
    nats = [-x.gather(-1, aims).double().sum() for x in (before, after)]
    return np.array([agreeing.sum(), divergence.double().sum(), *nats])


def weight_bytes(directory: Path) -> int:
    """Bytes of the files that hold weights or the graph."""
    kinds = ("*.safetensors", "*.onnx", "*.onnx.data")
    return sum(path.stat().st_size for kind in kinds for path in directory.glob(kind))
