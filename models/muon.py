"""Muon (Jordan et al. 2024) in batches: matrices of one shape are orthogonalised together, in bf16."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, chosen for the steepest slope at zero (Jordan et al. 2024)."""

ITERATIONS = 5


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised, as the update of matrices; decay is decoupled.

    An update of a [m, n] matrix is scaled by sqrt(max(1, m / n)), so that one learning rate serves all shapes.
    Equal to `torch.optim.Muon` up to the order of bf16 sums, with its state; a step is a few large products.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.02, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for same in _by_shape(group["params"]):
                momenta = [self._momentum(parameter, group["momentum"]) for parameter in same]
                rate = group["lr"] * math.sqrt(max(1.0, same[0].shape[0] / same[0].shape[1]))
                torch._foreach_mul_(same, 1 - group["lr"] * group["weight_decay"])
                updates = orthogonalised(torch.stack(momenta))
                torch._foreach_add_(same, list(updates.to(same[0].dtype).unbind()), alpha=-rate)
        return loss

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """The look-ahead momentum of a parameter, in bf16, its running mean of gradients brought up to date."""
        state, gradient = self.state[parameter], parameter.grad
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum).bfloat16()


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices to [N, m, n] ones, roughly: singular values land in about 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # [N, m, m]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _by_shape(parameters: list[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.Size, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.shape, []).append(parameter)
    return list(groups.values())
