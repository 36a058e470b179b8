"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from models.muon import Muon
from models.parallel_muon import ShardedMuon


def optimizers(
    model: nn.Module,
    name: Literal["muon", "adamw"],
    lr: float,
    matrix_lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    weight_decay: float = 0.0,
) -> list[Optimizer]:
    """What trains the model: Muon (Jordan et al. 2024) for hidden matrices beside AdamW for the rest, or AdamW alone.

    Embeddings, the output head and vectors always take AdamW at `lr`; `matrix_lr` is Muon's. Only matrices decay.
    """
    matrices, others = hidden_matrices(model)
    if name == "muon":
        groups: list[dict[str, Any]] = [{"params": others, "weight_decay": 0.0}]
        kind = ShardedMuon if any(isinstance(matrix, DTensor) for matrix in matrices) else Muon
        hidden: list[Optimizer] = [kind(matrices, lr=matrix_lr, weight_decay=weight_decay)] if matrices else []
    else:
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        hidden = []
    groups = [group for group in groups if group["params"]]
    return [*hidden, *([AdamW(groups, lr=lr, betas=betas, fused=True)] if groups else [])]


def hidden_matrices(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Trainable parameters in order: the matrices between embedding and head, and all others."""
    edges = {id(parameter) for parameter in _edge_parameters(model)}
    matrices, others = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim == 2 and id(parameter) not in edges else others).append(parameter)
    return matrices, others


def _edge_parameters(model: nn.Module) -> Sequence[Tensor]:
    edges = [model.get_input_embeddings(), model.get_output_embeddings()]
    return [parameter for edge in edges if edge is not None for parameter in edge.parameters()]


def schedule(
    name: Literal["wsd", "cosine", "constant"], steps: int, warmup: float, decay: float, floor: float = 0.0
) -> Callable[[int], float]:
    """The factor on the learning rate at each step, counted from 0.

    Linear warm-up over the first `warmup` share of the steps; then `wsd` (warm-up, stable, decay: Hu et al. 2024,
    MiniCPM, section 4) falls linearly over the last `decay` share, `cosine` falls from the warm-up on, to `floor`.
    """
    warm = max(1, round(steps * warmup)) if warmup > 0 else 0
    fall = max(1, steps - warm if name == "cosine" else round(steps * decay))

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warm) if warm else 1.0
        if name == "constant":
            return rise
        done = min(1.0, max(0.0, (step - (steps - fall)) / fall))  # share of the decay behind us
        left = 0.5 * (1 + math.cos(math.pi * done)) if name == "cosine" else 1 - done
        return rise * (floor + (1 - floor) * left)

    return factor
