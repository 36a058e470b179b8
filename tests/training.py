"""A tiny training run that any mesh can do, the same on each: for tests of parallelism and checkpoints."""

import math
from pathlib import Path
from typing import Any

import fsspec
import torch
import torch.distributed as dist
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import LocalFileSystem

from models.compiler import reach_torch
from models.learner import Learner
from models.lm import Architecture, Batch, build
from models.mesh import Mesh
from models.objectives import LanguageModelling
from models.optim import optimizers, schedule
from models.parallel import Alone, Parallel, local
from models.recorder import Hooks, Loop
from models.trainer import train
from tests.processes import bytes_sent

TINY = Architecture(96, 32, 2, 4, 2, 48, 64)
ROWS, LENGTH = 8, 32
SICK = 95  # a label that no data have


class Elsewhere(ArrowFSWrapper):
    """A folder that fsspec does not take for a local one, and every process reaches: elsewhere:///a/folder."""

    protocol = "elsewhere"

    def __init__(self, **_: Any) -> None:
        super().__init__(LocalFileSystem())


fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)


def data(step: int) -> list[Batch]:
    """Two micro-batches of four packed rows; documents begin anywhere, some labels are missing."""
    draw = torch.Generator().manual_seed(step)
    ids = torch.randint(4, 90, (ROWS, LENGTH + 1), generator=draw)
    starts = torch.randint(1, LENGTH, (ROWS, 1), generator=draw)
    positions = torch.arange(LENGTH).expand(ROWS, LENGTH)
    positions = torch.where(positions >= starts, positions - starts, positions)
    labels = ids[:, 1:].clone()
    labels[0, : 5 + step % 7] = -100
    batch = Batch(ids[:, :-1], positions, labels)
    return [Batch(*(tensor[half : half + ROWS // 2] for tensor in batch)) for half in (0, ROWS // 2)]


def learner(
    mesh: Mesh | None,
    steps: int,
    optimizer: str = "muon",
    bf16: bool = False,
    architecture: Architecture = TINY,
    recompute: bool = False,
    compiled: bool = False,
) -> Learner:
    parallel = Parallel(mesh, bf16) if mesh else Alone()
    model = build(architecture, bos_id=0, eos_id=2, pad_id=3, seed=0)
    if compiled:
        reach_torch()
    if recompute:
        model.activation_checkpointing_enable({"use_reentrant": False})
    parallel.prepare(model)
    made = optimizers(model, optimizer, lr=1e-2, matrix_lr=0.02, weight_decay=0.1)
    return Learner(model, LanguageModelling(compiled), made, schedule("wsd", steps, 0.1, 0.5), 1.0, parallel)


def trained(
    rank: int, mesh: Mesh | None, folder: Path | str, steps: int = 6, until: int = 0, every: int = 50, **settings: Any
) -> list[tuple[float, float]]:
    """(loss, gradient norm) of each step; stops in the step after `until`, when given, as if killed there."""
    del rank
    subject = learner(mesh, steps, **settings)
    loop = Loop(steps, bf16=settings.get("bf16", False), log_every=1, checkpoint_every=every)
    hooks = Hooks(step=lambda _: _stop(subject.done, until))
    try:
        curve = train(subject, data, loop, folder, hooks)
    except Killed:
        return []
    return [(point["loss"], point["gradient_norm"]) for point in curve]


def damaged(rank: int, mesh: Mesh | None, folder: Path | str, step: int, steps: int = 12) -> tuple[list[float], Any]:
    """Losses, and what the guard did, when one row of one step makes the loss no number, on the rank that has it."""
    del rank
    subject = learner(mesh, steps)
    healthy = subject.objective

    def objective(model: Any, batch: Batch) -> Any:
        loss, count, sums = healthy(model, batch)
        return loss * (math.nan if (batch.labels == SICK).any() else 1), count, sums

    def micro_batches(number: int) -> list[Batch]:
        first, *rest = data(number)
        if number == step:
            first.labels[2, -1] = SICK
        return [first, *rest]

    subject.objective, told = objective, []
    loop = Loop(steps, bf16=False, log_every=1, checkpoint_every=4)
    curve = train(subject, micro_batches, loop, folder, Hooks(event=told.append))
    return [point["loss"] for point in curve], told


class Killed(Exception):
    pass


def _stop(done: int, until: int) -> None:
    if until and done > until:
        raise Killed


def many(rank: int, meshes: dict[str, Mesh], folder: Path, **settings: Any) -> dict[str, Any]:
    """Curves under several meshes, one after the other in the same processes."""
    return {name: trained(rank, mesh, folder / name, **settings) for name, mesh in meshes.items()}


def many_with(rank: int, meshes: dict[str, Mesh], folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return many(rank, meshes, folder, **settings)


def measured(
    rank: int, meshes: dict[str, Mesh], architecture: Architecture, recompute: bool = False
) -> dict[str, tuple[float, int, int]]:
    """Per mesh, of this rank: bytes sent in one step, bytes of weights, bytes of optimizer states."""
    del rank
    return {name: _one_step(mesh, architecture, recompute) for name, mesh in meshes.items()}


def _one_step(mesh: Mesh, architecture: Architecture, recompute: bool) -> tuple[float, int, int]:
    subject = learner(mesh, 100, architecture=architecture, recompute=recompute)
    steps = _Steps(subject)
    steps.take(1)  # connections are made, states are there
    dist.barrier()
    before = bytes_sent()
    steps.take(4)
    dist.barrier()
    sent = (bytes_sent() - before) / 4
    weights = sum(local(parameter).nbytes for parameter in subject.model.parameters())
    tensors = [value for made in subject.updates for state in made.state.values() for value in state.values()]
    return sent, weights, sum(local(tensor).nbytes for tensor in tensors if tensor.ndim)


class _Steps:
    """A learner's steps without Lightning around them."""

    def __init__(self, subject: Learner) -> None:
        self.subject = subject
        subject.optimizers = lambda **_: subject.updates  # type: ignore[method-assign]
        subject.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]

    def take(self, count: int) -> None:
        for _ in range(count):
            self.subject.training_step(self.subject.parallel.share(data(self.subject.done)), 0)
