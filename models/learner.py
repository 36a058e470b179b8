"""One optimizer step: gradients of all micro-batches, on one rank or many, judged by the guard before it is taken."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from models.guard import Guard
from models.muon import Muon
from models.parallel import Alone, local

Objective = Callable[[nn.Module, Any], tuple[Tensor, float | Tensor, dict[str, float]]]
"""(model, micro-batch) -> (summed loss, what it was summed over, sums to log beside it, divided by the same)."""

Point = dict[str, float]


class Learner(LightningModule):
    """A model, its objective and its optimizers; one training step is one optimizer step over all its micro-batches.

    Losses, norms and the wish to stop are sums over all ranks, so every rank decides alike.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizers: list[Optimizer],
        factor: Callable[[int], float],
        clip: float,
        parallel: Alone | None = None,
    ) -> None:
        super().__init__()
        self.parallel = parallel or Alone()
        self.automatic_optimization = False
        self.model, self.objective, self.factor, self.clip = model, objective, factor, clip
        self.updates = optimizers
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        self.guard = Guard()
        self.done = 0  # optimizer steps behind us, over all resumes
        self.latest: Point = {}
        self.terminated = False  # this process was asked to stop
        self.stopping = False  # some process was, and all know

    def configure_optimizers(self) -> list[Optimizer]:
        """Lightning's hook."""
        return self.updates

    def training_step(self, micro_batches: Sequence[Any], _: int) -> None:
        """Average the objective over everything in the step; follow its gradient once, unless the guard objects.

        `micro_batches` are this rank's share of the step.
        """
        loss, extras, weight = self._backward(micro_batches)
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        torch._foreach_div_([local(parameter.grad) for parameter in parameters], weight)
        norm = self.parallel.clip(parameters, self.clip)
        self.guard.check(self.done, loss, norm)
        factor = self.factor(self.done)
        handles = self.optimizers(use_pl_optimizer=True)
        for handle, peaks in zip(handles if isinstance(handles, list) else [handles], self.peaks, strict=True):
            for group, peak in zip(handle.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            handle.step()
            handle.zero_grad(set_to_none=True)
        self.done += 1
        self.latest = {"loss": loss, "gradient_norm": norm, **self._rates(), **extras}

    def _rates(self) -> Point:
        """The learning rates of this step: Muon's, of matrices, and AdamW's."""
        return {
            "matrix_lr" if isinstance(optimizer, Muon) else "lr": optimizer.param_groups[0]["lr"]
            for optimizer in self.updates
        }

    def _backward(self, micro_batches: Sequence[Any]) -> tuple[float, Point, float]:
        losses, counts = [], []  # read when all are there: each look would wait for the device
        extras: Point = {}
        for number, batch in enumerate(micro_batches, 1):
            self.parallel.accumulating(last=number == len(micro_batches))
            loss, count, sums = self.parallel.call(self.objective, self.model, batch)
            self.manual_backward(loss)
            losses.append(loss.detach())
            counts.append(count)
            for name, value in sums.items():
                extras[name] = extras.get(name, 0.0) + value
        mine = [sum(torch.stack(losses).tolist()), float(sum(counts)), self.terminated, *extras.values()]
        total, weight, stop, *sums = self.parallel.total(mine)
        self.stopping = stop > 0
        return total / weight, {name: value / weight for name, value in zip(extras, sums, strict=True)}, weight
