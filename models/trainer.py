"""One training loop for pretraining, fine-tuning and alignment, on Lightning: exact resume, rollback, validation.

What differs between the three is composed in: an objective (a sum of losses over a micro-batch) and the steps' data.
A run that was killed and resumed ends with the same bytes as one that was not, on the same machine with the same
number of threads: data are a function of the step, nothing is drawn at random while training (models/lm.py builds and
loads networks without dropout), and the checkpoint holds weights and optimizer state in full precision. Another number
of threads or ranks adds floats up in another order.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from models import checkpoint, checkpoints, rollback
from models.guard import Anomaly, Guard
from models.in_place import InPlace
from models.learner import Learner, Point
from models.lm import ready
from models.meter import Meter
from models.prefetch import Prefetched
from models.recorder import Hooks, Loop, Recorder

CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Without it torch refuses cuBLAS products in deterministic mode; read at a process's first one (NVIDIA, cuBLAS)."""

MicroBatches = Callable[[int], Sequence[Any]]
"""Step -> its micro-batches; a function of the step alone, the same on every rank."""


def train(learner: Learner, micro_batches: MicroBatches, loop: Loop, folder: Path | str, hooks: Hooks) -> list[Point]:
    """Run the learner up to `loop.steps`, resuming from `folder`'s newest checkpoint; the whole curve.

    Raises:
        rollback.Diverged: the guard found more anomalies than it may roll back.
        checkpoint.Mismatch: `folder` is of another model.
        recorder.Stopped: SIGTERM came; the checkpoint is written.
    """
    learner.model.train()
    with closing(checkpoint.Saver(folder, loop.keep)) as saver, _repeatable(loop), _quiet():
        if not checkpoints.steps(folder):
            saver.save(0, learner.model, learner.updates, {"curve": []})
        while True:
            saver.wait()
            try:
                return _attempt(learner, rollback.without_skipped(micro_batches, folder), loop, saver, hooks)
            except Anomaly as anomaly:
                saver.wait()
                hooks.event(rollback.roll_back(folder, anomaly, loop.bounds, learner.parallel))


def _attempt(
    learner: Learner, micro_batches: MicroBatches, loop: Loop, saver: checkpoint.Saver, hooks: Hooks
) -> list[Point]:
    """From the newest checkpoint to the end, or to the first anomaly."""
    record = checkpoint.restore(saver.root, learner.model, learner.updates)
    learner.done, learner.latest = record["step"], record.get("latest", {})
    learner.guard = Guard.restored(loop.bounds, record.get("guard", {}))
    learner.zero_grad(set_to_none=True)
    parallel = learner.parallel
    data = Prefetched(
        lambda step: [ready(learner.model, batch) for batch in parallel.share(micro_batches(step))],
        learner.done,
        loop.steps,
    )
    meter = Meter(learner.model, torch.bfloat16 if loop.bf16 else torch.float32, parallel)
    recorder = Recorder(loop, hooks, saver, data, meter, record["curve"])
    hooks.step(learner.done)
    for point in recorder.curve:
        hooks.point(int(point["step"]), {name: value for name, value in point.items() if name != "step"})
    if learner.latest:
        recorder.tell(learner)  # the last attempt may have died while it measured
    if learner.done < loop.steps:
        _lightning(loop, recorder, learner.model.device).fit(learner, data)
    return recorder.curve


def _lightning(loop: Loop, recorder: Recorder, device: torch.device) -> Trainer:
    """Lightning runs one process, whatever the mesh: the model that it is given is already sharded and on `device`."""
    return Trainer(
        accelerator=device.type,
        devices=1,
        strategy=InPlace(device),
        max_epochs=1,
        precision="bf16-mixed" if loop.bf16 else "32-true",
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _repeatable(loop: Loop) -> Iterator[None]:
    """Same sums in the same order: deterministic kernels if so wished, a fixed number of threads (0: torch's own).

    New tensors are not filled with NaN, as torch would do then: nothing here reads what it has not written.
    """
    before, algorithms = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(loop.threads or before)
    if loop.deterministic:
        os.environ.setdefault(*CUBLAS)
    torch.use_deterministic_algorithms(loop.deterministic)
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
