"""What a decoder's matrices see: the second moments of their inputs over calibration text."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Moments = dict[str, Tensor]  # module name -> sum of x x^T over its inputs, [K, K] fp32; modules of one input share it


def linear_modules(model: nn.Module) -> dict[str, nn.Linear]:
    """Every matrix that multiplies activations, by name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


@torch.inference_mode()
def moments(
    model: nn.Module, windows: Tensor, rows: int = 4, advance: Callable[[int], None] = lambda _: None
) -> Moments:
    """Second moments over `windows` [W, T] of token ids, read `rows` at a time under bf16 autocast.

    `advance(n)` hears of windows read. Memory: K * K floats for each distinct input, 0.4 GB for 135M parameters.
    """
    found: Moments = {}
    with _observed(model, found):
        for batch in windows.split(rows):
            with torch.autocast("cpu", torch.bfloat16):
                model(input_ids=batch, use_cache=False)
            advance(len(batch))
    return found


@contextmanager
def _observed(model: nn.Module, found: Moments) -> Iterator[None]:
    """Add every forward pass to `found`. Modules that are given the same tensor one after another share one sum."""
    seen: list[tuple[Tensor, str]] = []  # the last input, and who got it first

    def look(name: str, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        if not seen or seen[-1][0] is not values:
            seen[:] = [(values, name)]
            flat = values.flatten(0, -2).float()  # [tokens, K]
            with torch.autocast("cpu", enabled=False):  # sums of squares in bf16 are no longer positive definite
                moment = flat.t() @ flat
            found[name] = found[name] + moment if name in found else moment
        else:
            found[name] = found[seen[-1][1]]

    hooks = [
        module.register_forward_pre_hook(lambda _module, inputs, name=name: look(name, inputs))
        for name, module in linear_modules(model).items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def units(found: Moments) -> list[tuple[str, ...]]:
    """Modules that read the same input, which engines compute in one product and so must store alike."""
    groups: dict[int, list[str]] = defaultdict(list)
    for name, moment in found.items():
        groups[id(moment)].append(name)
    return [tuple(names) for names in groups.values()]
