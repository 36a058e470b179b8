"""What training minimises, as micro-batch functions for the trainer, eager or compiled."""

import logging
import math
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from transformers.modeling_layers import GradientCheckpointingLayer

from models.lm import IGNORED, Batch, bits_per_byte, next_token_loss
from models.parallel import Alone

log = logging.getLogger(__name__)


class LanguageModelling:
    """Next-token prediction: the summed negative log-likelihood, over as many labels as there are."""

    def __init__(self, compiled: bool = False, z_loss: float = 0.0) -> None:
        self.compiled, self.z_loss = compiled, z_loss
        self._tried = False

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, dict[str, float]]:
        """(loss, labels, nothing beside them)."""
        if self.compiled and not self._tried:
            self.compiled, self._tried = _compiles(model, batch, self.z_loss), True
        loss = next_token_loss(model, batch, self.z_loss, self.compiled)
        return loss, (batch.labels != IGNORED).sum(), {}


def _compiles(model: nn.Module, batch: Batch, z_loss: float) -> bool:
    """Compile every layer (all share one graph); without a compiler that works, leave them as they are and say so."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.compile(dynamic=False)
    try:
        next_token_loss(model, batch, z_loss, compiled=True)
    except TorchDynamoException as problem:
        log.warning("torch.compile does not work here, training goes on without it: %s", str(problem).split("\n")[0])
        for layer in layers:
            layer._compiled_call_impl = None
        return False
    return True


def validation(
    batches: list[Batch], utf8_bytes: int, bf16: bool, parallel: Alone | None = None
) -> Callable[[nn.Module], dict[str, float]]:
    """Measure of a model: its loss per token and its bits per byte over held-out batches covering so many bytes."""
    mesh = parallel or Alone()

    def measure(model: nn.Module) -> dict[str, float]:
        nats, labels = 0.0, 0
        for shared in mesh.share(batches):
            batch = Batch(*(tensor.to(model.device) for tensor in shared))
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                nats += mesh.call(next_token_loss, model, batch).item()
            labels += int((batch.labels != IGNORED).sum())
        nats, labels = mesh.total([nats, labels])
        return {"validation_loss": nats / max(1, labels), "bits_per_byte": bits_per_byte(nats, max(1, utf8_bytes))}

    return measure


def has_compiler() -> bool:
    """Whether there is a C++ compiler, without which torch.compile does nothing here."""
    return any(map(shutil.which, ("g++", "clang++", "c++")))


def should_compile(mode: Any, model: nn.Module, tokens: int) -> bool:
    """Whether torch.compile pays: never without a C++ compiler, in mode "auto" only for enough arithmetic.

    Compiling costs some 30 s on two cores and saves about a quarter of the time of training, which is 6 operations per
    parameter and token (Kaplan et al. 2020, section 2.1) at roughly 2e11 per second: worth it from 2e13 on.
    """
    if mode == "never" or not has_compiler():
        return False
    arithmetic = 6 * sum(math.prod(parameter.shape) for parameter in model.parameters()) * tokens
    return mode == "always" or arithmetic >= 2e13
