"""Muon (Jordan et al. 2024) in batches: matrices of one shape are orthogonalised together, in bf16."""

import math
from collections.abc import Callable, Iterable, Sequence
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
        """One update of every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            momenta = [self._momentum(matrix, group["momentum"]) for matrix in matrices]
            own = [self._own(matrix) for matrix in matrices]
            torch._foreach_mul_(own, 1 - group["lr"] * group["weight_decay"])
            for matrix, rows, update in zip(matrices, own, self._updates(matrices, momenta), strict=True):
                rate = group["lr"] * math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
                rows.add_(update.to(rows.dtype), alpha=-rate)
        return loss

    def _own(self, matrix: Tensor) -> Tensor:
        """What of a matrix, or of its gradient, this process holds."""
        return matrix

    def _updates(self, _: Sequence[Tensor], momenta: list[Tensor]) -> list[Tensor]:
        """This process's parts of the orthogonalised momenta, from its parts of the momenta."""
        return orthogonalised(momenta)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """The look-ahead momentum of a matrix, in bf16, its running mean of gradients brought up to date."""
        state, gradient = self.state[matrix], self._own(matrix.grad)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean = self._own(state["momentum_buffer"]).lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum).bfloat16()


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """The nearest semi-orthogonal matrices, roughly, those of one shape in one batch."""
    places: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        places.setdefault(matrix.shape, []).append(place)
    found = list(matrices)
    for same in places.values():
        for place, result in zip(same, newton_schulz(torch.stack([matrices[k] for k in same])), strict=True):
            found[place] = result
    return found


def newton_schulz(matrices: Tensor) -> Tensor:
    """Semi-orthogonal [N, m, n] matrices near the given ones: singular values land in about 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # [N, m, m]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
