"""One training loop for pretraining, fine-tuning and alignment, on Lightning: exact resume, curve, validation.

What differs between the three is composed in: an objective (a sum of losses over a micro-batch) and the steps' data.
A run that was killed and resumed ends with the same bytes as one that was not, on the same machine with the same
number of threads: data are a function of the step, nothing is drawn at random while training, and the checkpoint holds
weights and optimizer state in full precision. Another number of threads adds floats up in another order.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from models import checkpoint
from models.parallel import Alone

Objective = Callable[[nn.Module, Any], tuple[Tensor, float, dict[str, float]]]
"""(model, micro-batch) -> (summed loss, what it was summed over, sums to log beside it, divided by the same)."""

Point = dict[str, float]


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; `step` is where, `checkpoint` the last step that is safe on disk."""

    def __init__(self, step: int, last: int) -> None:
        super().__init__(f"loss is not finite at step {step}; last checkpoint: step {last}")
        self.step, self.checkpoint = step, last


@dataclass(frozen=True)
class Loop:
    """How to run the steps; none of it changes what is computed except `clip` and `bf16`."""

    steps: int
    bf16: bool = True
    clip: float = 1.0
    log_every: int = 10
    validate_every: int = 0
    checkpoint_every: int = 50
    keep: int = 2
    threads: int = 0


@dataclass(frozen=True)
class Hooks:
    """Who wants to know: of a curve's point, of a finished step; and what to measure every `validate_every` steps."""

    point: Callable[[int, Point], None] = lambda *_: None
    step: Callable[[int], None] = lambda *_: None
    validate: Callable[[nn.Module], Point] | None = None


class Steps(Dataset):
    """The data of each optimizer step, as a list of micro-batches, from step `first` on."""

    def __init__(self, micro_batches: Callable[[int], Sequence[Any]], first: int, last: int) -> None:
        self.micro_batches, self.first, self.last = micro_batches, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> Sequence[Any]:
        return self.micro_batches(self.first + index)


class Learner(LightningModule):
    """A model, its objective and its optimizers; one training step is one optimizer step over all its micro-batches."""

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
        self.done = 0  # optimizer steps behind us, over all resumes
        self.latest: Point = {}

    def configure_optimizers(self) -> list[Optimizer]:
        """Lightning's hook."""
        return self.updates

    def training_step(self, micro_batches: Sequence[Any], _: int) -> None:
        """Average the objective over everything in the step, follow its gradient once."""
        loss, extras, weight = self._backward(self.parallel.share(micro_batches))
        if not math.isfinite(loss):
            raise NonFiniteLoss(self.done, self.done)
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(weight)
        norm = self.parallel.clip(parameters, self.clip)
        rate = self.factor(self.done)
        handles = self.optimizers(use_pl_optimizer=True)
        for handle, peaks in zip(handles if isinstance(handles, list) else [handles], self.peaks, strict=True):
            for group, peak in zip(handle.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
            handle.step()
            handle.zero_grad(set_to_none=True)
        self.done += 1
        self.latest = {"loss": loss, "rate": rate, "gradient_norm": norm, **extras}

    def _backward(self, micro_batches: Sequence[Any]) -> tuple[float, Point, float]:
        total, weight = 0.0, 0.0
        extras: Point = {}
        for number, batch in enumerate(micro_batches, 1):
            self.parallel.accumulating(last=number == len(micro_batches))
            loss, count, sums = self.parallel.call(self.objective, self.model, batch)
            self.manual_backward(loss)
            total, weight = total + loss.item(), weight + count
            for name, value in sums.items():
                extras[name] = extras.get(name, 0.0) + value
        total, weight, *sums = self.parallel.total([total, weight, *extras.values()])
        return total / weight, {name: value / weight for name, value in zip(extras, sums, strict=True)}, weight


@dataclass
class Recorder(Callback):
    """Keeps the curve, the checkpoints and everyone who listens up to date after every step."""

    loop: Loop
    hooks: Hooks
    saver: checkpoint.Saver
    curve: list[Point] = field(default_factory=list)

    def on_train_batch_end(self, _trainer: Trainer, learner: Learner, *_: Any) -> None:
        """Lightning's hook."""
        step = learner.done
        self.hooks.step(1)
        point = self._point(learner, step)
        if point:
            self.curve.append({"step": step, **point})
            self.hooks.point(step, point)
        if step % self.loop.checkpoint_every == 0 or step == self.loop.steps:
            self.saver.save(step, learner.model, learner.updates, {"curve": self.curve})

    def _point(self, learner: Learner, step: int) -> Point:
        last = step == self.loop.steps
        point = dict(learner.latest) if last or step % self.loop.log_every == 0 else {}
        every = self.loop.validate_every
        if self.hooks.validate and (last or (every and step % every == 0)):
            point |= {**learner.latest, **evaluating(learner.model, self.hooks.validate)}
        return point


def evaluating(model: nn.Module, measure: Callable[[nn.Module], Point]) -> Point:
    """Measure without gradients and leave the model training as before."""
    model.eval()
    with torch.no_grad():
        values = measure(model)
    model.train()
    return values


def train(
    learner: Learner, micro_batches: Callable[[int], Sequence[Any]], loop: Loop, folder: Path | str, hooks: Hooks
) -> list[Point]:
    """Run the learner up to `loop.steps`, resuming from `folder`'s newest checkpoint; the whole curve.

    Raises NonFiniteLoss. `micro_batches(step)` must depend on the step alone.
    """
    record = checkpoint.restore(folder, learner.model, learner.updates)
    saver = checkpoint.Saver(folder, loop.keep)
    recorder = Recorder(loop, hooks, saver, record["curve"] if record else [])
    learner.done = record["step"] if record else 0
    hooks.step(learner.done)
    for point in recorder.curve:
        hooks.point(int(point["step"]), {name: value for name, value in point.items() if name != "step"})
    if learner.done == loop.steps:
        return recorder.curve
    learner.model.train()
    with _deterministic(loop.threads), _quiet():
        data = DataLoader(Steps(micro_batches, learner.done, loop.steps), batch_size=None, shuffle=False)
        try:
            _lightning(loop, recorder, learner.parallel).fit(learner, data)
        except NonFiniteLoss as problem:
            saver.wait()
            raise NonFiniteLoss(problem.step, max(checkpoint.steps(folder), default=0)) from problem
        finally:
            saver.close()
    return recorder.curve


def _lightning(loop: Loop, recorder: Recorder, parallel: Alone) -> Trainer:
    """Lightning runs one process, whatever the mesh: the model that it is given is already sharded."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        strategy=parallel.strategy(),
        max_epochs=1,
        precision="bf16-mixed" if loop.bf16 else "32-true",
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Same sums in the same order: deterministic kernels, a fixed number of threads (0 leaves torch's own)."""
    before, algorithms = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads or before)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(algorithms)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning greets, tips and warns of loader workers; none of it helps the reader of a stage's log."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
