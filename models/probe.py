"""Whether a network may be trained on packed rows: it must not see the future, nor the documents beside its own."""

import torch
from torch import Tensor, nn

from models import attention_flash
from models.lm import logits

FIRST, LENGTH = 9, 16
"""Tokens of the first of the two documents in the row that is tried, and of the row."""

NOISE = 1e-5
"""Of the change at the token that was changed: below is rounding (experts regroup tokens), above is attention."""


class Leak(ValueError):
    """What the network sees that it must not."""


@torch.no_grad()
def check_isolation(model: nn.Module) -> None:
    """Change a token, and look which scores change with it.

    Raises:
        Leak: scores of an earlier token, or of another document's, did.
    """
    entries = model.get_input_embeddings().weight.shape[0]
    device = model.device
    ids = torch.arange(LENGTH, device=device)[None] * 7 % entries
    positions = torch.cat([torch.arange(FIRST), torch.arange(LENGTH - FIRST)]).to(device)[None]
    learning, kernel = model.training, model.config._attn_implementation
    known = {module: set(vars(module)) for module in model.modules()}
    model.eval()
    if device.type == "cpu" and kernel == attention_flash.NAME:  # where it does not run
        model.set_attn_implementation("sdpa")
    try:
        plain = logits(model, ids, positions)[0]
        for place, others, what in (
            (LENGTH - 1, slice(FIRST, LENGTH - 1), "scores of a token change with those behind it"),
            (FIRST - 3, slice(FIRST - 3), "scores of a token change with those behind it"),
            (FIRST - 3, slice(FIRST, None), "scores of a document change with the one before it in the row"),
            (LENGTH - 1, slice(FIRST), "scores of a document change with the one behind it in the row"),
        ):
            other = ids.clone()
            other[0, place] = (other[0, place] + entries // 2) % entries
            change = (logits(model, other, positions)[0] - plain).abs()
            if _largest(change[others]) > NOISE * _largest(change[place]):
                raise Leak(what)
    finally:
        model.train(learning)
        model.config._attn_implementation = kernel
        for module, names in known.items():  # ranks that did not try it must hold the same tensors (parallel_weights)
            for name in [n for n, value in vars(module).items() if isinstance(value, Tensor) and n not in names]:
                delattr(module, name)


def _largest(change: Tensor) -> float:
    return change.max().item()
