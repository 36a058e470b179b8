"""The next-token loss without its logits: the head, the softmax and their gradients, a chunk of positions at a time.

Neither logits nor their gradient ever exist for more than one chunk, so memory is bounded for any vocabulary (after
Hsu et al. 2024, Liger Kernel, section 3.2). Letters: N positions, C of a chunk, H channels, V vocabulary.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""The label of a position that bears no loss."""

CHUNK_ELEMENTS = 1 << 22
FEWEST_ROWS = 256
"""A chunk of logits stays in the last-level cache where it can, yet has rows enough for efficient products."""

Chunk = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, labels: Tensor, z_loss: float = 0.0, compiled: bool = False
) -> Tensor:
    """Sum over the labelled positions of -log softmax(hidden headᵀ)[label], in nats, a scalar.

    hidden [N, H], head [V, H], labels [N] with IGNORED ones. `z_loss` is the weight of the squared log-partition
    beside it (Chowdhery et al. 2022, PaLM, section 5). Under autocast the products are in its type, the rest in fp32.
    """
    device = hidden.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        return LinearCrossEntropy.apply(
            hidden, head, labels, kind, z_loss, _compiled() if compiled else loss_and_scores
        )


class LinearCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, while a chunk's probabilities are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, kind: torch.dtype, z_loss: float, chunk: Chunk
    ) -> Tensor:
        """See `linear_cross_entropy`; `chunk` is `loss_and_scores`, compiled or not."""
        weight = head.to(kind)
        total = torch.zeros((), device=hidden.device)
        dhidden, dhead = (
            torch.zeros_like(tensor) if wanted else None
            for tensor, wanted in zip((hidden, head), ctx.needs_input_grad, strict=False)
        )
        for part in _chunks(labels, max(FEWEST_ROWS, CHUNK_ELEMENTS // head.shape[0])):
            inputs = hidden[part].to(kind)
            loss, scores = chunk(inputs @ weight.T, labels[part], z_loss)
            total += loss
            if dhidden is not None:
                dhidden[part] = (scores @ weight).to(dhidden.dtype)
            if dhead is not None:  # a frozen head has none, as under LoRA
                dhead += scores.T @ inputs
        ctx.save_for_backward(dhidden, dhead)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Only the scale is left to do."""
        made = (None if gradient is None else gradient * gradients[0] for gradient in ctx.saved_tensors)
        return *made, None, None, None, None


def loss_and_scores(logits: Tensor, labels: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """The summed loss of a chunk of logits [C, V] and its gradient by them, in their type."""
    scores = logits.float()
    partition = scores.logsumexp(1)  # [C]
    kept = labels != IGNORED
    chosen = scores.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    loss = torch.where(kept, partition - chosen + z_loss * partition**2, 0.0).sum()
    here = torch.arange(logits.shape[1], device=logits.device) == labels[:, None]
    gradient = (scores - partition[:, None]).exp() * (1 + 2 * z_loss * partition)[:, None] - here.float()
    return loss, torch.where(kept[:, None], gradient, 0.0).to(logits.dtype)


def _chunks(labels: Tensor, rows: int) -> Sequence[Tensor | slice]:
    """At most `rows` positions each: of those with a label, but of all on a GPU, where a count would wait for it."""
    if labels.device.type != "cpu":
        return [slice(first, first + rows) for first in range(0, len(labels), rows)]
    places = (labels != IGNORED).nonzero()[:, 0]
    return places.tensor_split(math.ceil(len(places) / rows)) if len(places) else ()


@functools.cache
def _compiled() -> Chunk:
    return torch.compile(loss_and_scores, dynamic=True)  # chunks differ in size
