"""What rounding costs: in a matrix's output, and in the whole model's predictions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.quantization.calibration import linear_modules


def output_error(weight: Tensor, rounded: Tensor, moment: Tensor) -> float:
    """Square error of the outputs over their square sum, for inputs of second moment `moment` [K, K]."""
    difference = rounded - weight
    return float((difference @ moment * difference).sum() / (weight @ moment * weight).sum().clamp_min(1e-30))


@torch.inference_mode()
def divergences(
    model: nn.Module,
    windows: Tensor,
    units: Sequence[tuple[str, ...]],
    rounded: Mapping[str, Tensor],
    advance: Callable[[], None] = lambda: None,
) -> list[float]:
    """Mean KL(model || model with one unit's matrices as in `rounded`) over `windows` [W, T], in nats, for each unit.

    Layers below a unit run once for all: their outputs are kept.
    """
    calls = _layer_calls(model, windows)
    reference = _finish(model, calls, len(calls) - 1).log_softmax(-1)  # [W, T, V]
    modules, found = linear_modules(model), []
    for unit in units:
        with _replaced({modules[name]: rounded[name] for name in unit}):
            scores = _finish(model, calls, _layer(unit[0], len(calls))).log_softmax(-1)
        found.append(float((reference.exp() * (reference - scores)).sum(-1).mean()))
        advance()
    return found


def _layer(module: str, count: int) -> int:
    """The decoder layer that a module belongs to; the last for what comes after all of them."""
    _, inside, rest = module.partition(".layers.")
    return int(rest.partition(".")[0]) if inside else count - 1


def _layer_calls(model: nn.Module, windows: Tensor) -> list[tuple[Any, Any]]:
    """What every decoder layer is called with on `windows`."""
    calls: list[tuple[Any, Any]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _layer, *call: calls.append(call), with_kwargs=True)
        for layer in model.model.layers
    ]
    model(input_ids=windows, use_cache=False)
    for hook in hooks:
        hook.remove()
    return calls


def _finish(model: nn.Module, calls: Sequence[tuple[Any, Any]], first: int) -> Tensor:
    """Logits [W, T, V] from layer `first` on, from what it was called with."""
    hidden = calls[first][0][0]
    for layer, (others, named) in zip(model.model.layers[first:], calls[first:], strict=True):
        hidden = layer(hidden, *others[1:], **named)
    return model.lm_head(model.model.norm(hidden))


@contextmanager
def _replaced(weights: Mapping[nn.Linear, Tensor]) -> Iterator[None]:
    kept = {module: module.weight.data for module in weights}
    try:
        for module, weight in weights.items():
            module.weight.data = weight
        yield
    finally:
        for module, weight in kept.items():
            module.weight.data = weight
