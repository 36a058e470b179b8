"""What is written down while a model learns: checkpoints, the curve, and word to everyone who listens."""

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from models import checkpoints
from models.checkpoint import Saver
from models.guard import Bounds
from models.learner import Learner, Point
from models.meter import Meter
from models.prefetch import Prefetched
from models.rollback import Event

SCORE = "validation_loss"
"""The measure by which the best checkpoint is kept."""

T = TypeVar("T")


class Stopped(SystemExit):
    """SIGTERM came; everything up to `step` is in a checkpoint. The exit status is the usual 128 + 15."""

    def __init__(self, step: int) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.step = step


@dataclass(frozen=True)
class Loop:
    """How to run the steps; none of it changes what is computed except `bf16`, `bounds` and `deterministic`."""

    steps: int
    bf16: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    log_every: int = 10
    validate_every: int = 0
    checkpoint_every: int = 50
    keep: int = 2
    threads: int = 0
    deterministic: bool = True

    def validates(self, step: int) -> bool:
        """Whether the model is measured after so many steps."""
        return step == self.steps or (self.validate_every > 0 and step % self.validate_every == 0)

    def saves(self, step: int) -> bool:
        """Whether there is a checkpoint of this step: also of every one that is measured, so the best can be kept."""
        return self.validates(step) or step % self.checkpoint_every == 0


@dataclass(frozen=True)
class Hooks:
    """Who wants to know, and what to measure every `validate_every` steps.

    point: a curve's point, with readings of speed beside it if steps were taken since the last; ranks: each rank's
    readings at such a point; step: so many steps are finished in all; event: the guard acted; sample: look at the model
    of this step, whenever it is validated; stop: whether the run is asked to save and end, beside SIGTERM.
    """

    point: Callable[[int, Point], None] = lambda *_: None
    ranks: Callable[[int, list[Point]], None] = lambda *_: None
    step: Callable[[int], None] = lambda *_: None
    event: Callable[[Event], None] = lambda _: None
    validate: Callable[[nn.Module], Point] | None = None
    sample: Callable[[int, nn.Module], None] = lambda *_: None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Recorder(Callback):
    """Keeps the curve, the checkpoints and everyone who listens up to date after every step."""

    loop: Loop
    hooks: Hooks
    saver: Saver
    data: Prefetched
    meter: Meter
    curve: list[Point] = field(default_factory=list)

    def on_train_start(self, _trainer: Trainer, learner: Learner) -> None:
        """Lightning's hook: from here on SIGTERM is ours; at the end Lightning puts the former handler back."""

        def terminate(*_: Any) -> None:
            learner.terminated = True

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)

    def on_train_batch_start(self, _trainer: Trainer, learner: Learner, *_: Any) -> None:
        """Lightning's hook: where no signal comes through, somebody may have asked otherwise."""
        learner.terminated |= self.hooks.stop()

    def on_train_batch_end(self, _trainer: Trainer, learner: Learner, _: Any, batch: Sequence[Any], *__: Any) -> None:
        """Lightning's hook: save first, so that a measure which fails costs no step."""
        step = learner.done
        self.meter.step(batch)
        self.hooks.step(step)
        if self.loop.saves(step) or learner.stopping:
            record = {"curve": self.curve, "latest": learner.latest, "guard": learner.guard.state()}
            self.saver.save(step, learner.model, learner.updates, record)
        self.tell(learner)
        if learner.stopping and step < self.loop.steps:
            raise Stopped(step)

    def tell(self, learner: Learner) -> None:
        """Put the present step's point into the curve, if it has one and is not there yet."""
        step = learner.done
        if self.curve and self.curve[-1]["step"] >= step:
            return
        point = self._point(learner, step)
        if point:
            self.curve.append({"step": step, **point})
            readings = self.meter.read(self.data.waited)
            self.hooks.point(step, point | readings)
            if readings:
                self.hooks.ranks(step, self.meter.by_rank)

    def _point(self, learner: Learner, step: int) -> Point:
        point = dict(learner.latest) if step == self.loop.steps or step % self.loop.log_every == 0 else {}
        if self.hooks.validate and self.loop.validates(step):
            point |= {**learner.latest, **evaluating(learner.model, self.hooks.validate)}
            evaluating(learner.model, partial(self.hooks.sample, step))
            self._score(learner, step, point.get(SCORE))
        return point

    def _score(self, learner: Learner, step: int, value: float | None) -> None:
        if value is not None and self.loop.saves(step):
            self.saver.wait()
            if learner.parallel.rank == 0:
                checkpoints.score(self.saver.root, step, value)


def evaluating(model: nn.Module, measure: Callable[[nn.Module], T]) -> T:
    """Measure without gradients and leave the model training as before."""
    model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # other shapes are not worth a compilation
        values = measure(model)
    model.train()
    return values
