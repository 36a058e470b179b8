"""One training loop for pretraining, fine-tuning and alignment, on Lightning: exact resume, curve, validation.

What differs between the three is composed in: an objective (a sum of losses over a micro-batch) and the steps' data.
A run that was killed and resumed ends with the same bytes as one that was not, on the same machine with the same
number of threads: data are a function of the step, nothing is drawn at random while training, and the checkpoint holds
weights and optimizer state in full precision. Another number of threads adds floats up in another order.
"""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from models import checkpoint, rollback
from models.guard import Anomaly, Bounds, Guard
from models.meter import Meter
from models.prefetch import Prefetched

Objective = Callable[[nn.Module, Any], tuple[Tensor, float, dict[str, float]]]
"""(model, micro-batch) -> (summed loss, what it was summed over, sums to log beside it, divided by the same)."""

MicroBatches = Callable[[int], Sequence[Any]]
"""Step -> its micro-batches; a function of the step alone."""

Point = dict[str, float]

T = TypeVar("T")


class Stopped(SystemExit):
    """SIGTERM came; everything up to `step` is in a checkpoint. The exit status is the usual 128 + 15."""

    def __init__(self, step: int) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.step = step


@dataclass(frozen=True)
class Loop:
    """How to run the steps; none of it changes what is computed except `bf16` and `bounds`."""

    steps: int
    bf16: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    log_every: int = 10
    validate_every: int = 0
    checkpoint_every: int = 50
    keep: int = 2
    threads: int = 0


@dataclass(frozen=True)
class Hooks:
    """Who wants to know, and what to measure every `validate_every` steps.

    point: a curve's point, with readings of speed beside it; step: so many steps are finished; event: the guard acted;
    sample: look at the model of this step, whenever it is validated.
    """

    point: Callable[[int, Point], None] = lambda *_: None
    step: Callable[[int], None] = lambda *_: None
    event: Callable[[rollback.Event], None] = lambda _: None
    validate: Callable[[nn.Module], Point] | None = None
    sample: Callable[[int, nn.Module], None] = lambda *_: None


class Learner(LightningModule):
    """A model, its objective and its optimizers; one training step is one optimizer step over all its micro-batches."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizers: list[Optimizer],
        factor: Callable[[int], float],
        clip: float,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.objective, self.factor, self.clip = model, objective, factor, clip
        self.updates = optimizers
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        self.guard = Guard()
        self.done = 0  # optimizer steps behind us, over all resumes
        self.latest: Point = {}

    def configure_optimizers(self) -> list[Optimizer]:
        """Lightning's hook."""
        return self.updates

    def training_step(self, micro_batches: Sequence[Any], _: int) -> None:
        """Average the objective over everything in the step; follow its gradient once, unless the guard objects."""
        loss, extras, weight = self._backward(micro_batches)
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        torch._foreach_div_([parameter.grad for parameter in parameters], weight)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip).item()
        self.guard.check(self.done, loss, norm)
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
        for batch in micro_batches:
            loss, count, sums = self.objective(self.model, batch)
            self.manual_backward(loss)
            total, weight = total + loss.item(), weight + count
            for name, value in sums.items():
                extras[name] = extras.get(name, 0.0) + value
        return total / weight, {name: value / weight for name, value in extras.items()}, weight


@dataclass
class Recorder(Callback):
    """Keeps the curve, the checkpoints and everyone who listens up to date after every step."""

    loop: Loop
    hooks: Hooks
    folder: Path
    data: Prefetched
    meter: Meter
    curve: list[Point] = field(default_factory=list)
    terminated: bool = False

    def on_train_start(self, *_: Any) -> None:
        """Lightning's hook: from here on SIGTERM is ours; at the end Lightning puts the former handler back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminate)

    def on_train_batch_end(self, _trainer: Trainer, learner: Learner, _: Any, batch: Sequence[Any], *__: Any) -> None:
        """Lightning's hook: save first, so that a measure which fails costs no step."""
        step = learner.done
        self.meter.step(batch)
        self.hooks.step(1)
        if step == self.loop.steps or step % self.loop.checkpoint_every == 0 or self.terminated:
            record = {"curve": self.curve, "latest": learner.latest, "guard": learner.guard.state()}
            checkpoint.save(self.folder, step, learner.model, learner.updates, record, self.loop.keep)
        self.tell(learner)
        if self.terminated and step < self.loop.steps:
            raise Stopped(step)

    def tell(self, learner: Learner) -> None:
        """Put the present step's point into the curve, if it has one and is not there yet."""
        step = learner.done
        if self.curve and self.curve[-1]["step"] >= step:
            return
        point = self._point(learner, step)
        if point:
            self.curve.append({"step": step, **point})
            self.hooks.point(step, point | self.meter.read(self.data.waited))

    def _point(self, learner: Learner, step: int) -> Point:
        last = step == self.loop.steps
        point = dict(learner.latest) if last or step % self.loop.log_every == 0 else {}
        every = self.loop.validate_every
        if self.hooks.validate and (last or (every and step % every == 0)):
            point |= {**learner.latest, **evaluating(learner.model, self.hooks.validate)}
            evaluating(learner.model, partial(self.hooks.sample, step))
        return point

    def _terminate(self, *_: Any) -> None:
        self.terminated = True


def evaluating(model: nn.Module, measure: Callable[[nn.Module], T]) -> T:
    """Measure without gradients and leave the model training as before."""
    model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # other shapes are not worth a compilation
        values = measure(model)
    model.train()
    return values


def train(learner: Learner, micro_batches: MicroBatches, loop: Loop, folder: Path, hooks: Hooks) -> list[Point]:
    """Run the learner up to `loop.steps`, resuming from `folder`'s newest checkpoint; the whole curve.

    Raises:
        rollback.Diverged: the guard found more anomalies than it may roll back.
        checkpoint.Mismatch: `folder` is of another model.
        Stopped: SIGTERM came; the checkpoint is written.
    """
    learner.model.train()
    if not checkpoint.steps(folder):
        checkpoint.save(folder, 0, learner.model, learner.updates, {"curve": []}, loop.keep)
    with _deterministic(loop.threads), _quiet():
        while True:
            try:
                return _attempt(learner, rollback.without_skipped(micro_batches, folder), loop, folder, hooks)
            except Anomaly as anomaly:
                hooks.event(rollback.roll_back(folder, anomaly, loop.bounds))


def _attempt(learner: Learner, micro_batches: MicroBatches, loop: Loop, folder: Path, hooks: Hooks) -> list[Point]:
    """From the newest checkpoint to the end, or to the first anomaly."""
    record = checkpoint.restore(folder, learner.model, learner.updates)
    learner.done, learner.latest = record["step"], record.get("latest", {})
    learner.guard = Guard.restored(loop.bounds, record.get("guard", {}))
    learner.zero_grad(set_to_none=True)
    data = Prefetched(micro_batches, learner.done, loop.steps)
    meter = Meter(learner.model, torch.bfloat16 if loop.bf16 else torch.float32)
    recorder = Recorder(loop, hooks, folder, data, meter, record["curve"])
    hooks.step(learner.done)
    for point in recorder.curve:
        hooks.point(int(point["step"]), {name: value for name, value in point.items() if name != "step"})
    if learner.latest:
        recorder.tell(learner)  # the last attempt may have died while it measured
    if learner.done < loop.steps:
        _lightning(loop, recorder).fit(learner, data)
    return recorder.curve


def _lightning(loop: Loop, recorder: Recorder) -> Trainer:
    return Trainer(
        accelerator="auto",
        devices=1,
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
    """Same sums in the same order: deterministic kernels, a fixed number of threads (0 leaves torch's own).

    New tensors are not filled with NaN, as torch would do then: nothing here reads what it has not written.
    """
    before, algorithms = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(threads or before)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(algorithms)
        torch.utils.deterministic.fill_uninitialized_memory = filled


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
