"""What training minimises, as micro-batch functions for the trainer, eager or compiled."""

import math
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.lm import IGNORED, Batch, bits_per_byte, next_token_loss
from models.parallel import Alone


def language_modelling(compiled: bool) -> Callable[[nn.Module, Batch], tuple[Tensor, float, dict[str, float]]]:
    """Next-token prediction: the summed negative log-likelihood, over as many labels as there are."""
    loss_of = torch.compile(next_token_loss, dynamic=False) if compiled else next_token_loss

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        loss = loss_of(model, batch.input_ids, batch.position_ids, batch.labels)
        return loss, float((batch.labels != IGNORED).sum()), {}

    return objective


def validation(
    batches: list[Batch], utf8_bytes: int, bf16: bool, parallel: Alone | None = None
) -> Callable[[nn.Module], dict[str, float]]:
    """Measure of a model: its loss per token and its bits per byte over held-out batches covering so many bytes."""
    mesh = parallel or Alone()

    def measure(model: nn.Module) -> dict[str, float]:
        nats, labels = 0.0, 0
        for batch in mesh.share(batches):
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                nats += mesh.call(next_token_loss, model, *batch).item()
            labels += int((batch.labels != IGNORED).sum())
        nats, labels = mesh.total([nats, labels])
        return {"validation_loss": nats / max(1, labels), "bits_per_byte": bits_per_byte(nats, max(1, utf8_bytes))}

    return measure


def should_compile(mode: Any, model: nn.Module, tokens: int) -> bool:
    """Whether torch.compile pays: never without a C++ compiler, in mode "auto" only for enough arithmetic.

    Compiling costs some 30 s on two cores and saves about a quarter of the time of training, which is 6 operations per
    parameter and token (Kaplan et al. 2020, section 2.1) at roughly 2e11 per second: worth it from 2e13 on.
    """
    if mode == "never" or not any(map(shutil.which, ("g++", "clang++", "c++"))):
        return False
    arithmetic = 6 * sum(math.prod(parameter.shape) for parameter in model.parameters()) * tokens
    return mode == "always" or arithmetic >= 2e13
