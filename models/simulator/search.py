"""All ways to run one network on so many GPUs, judged by the simulator, and the best of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.mesh import ImpossibleMesh, Mesh, Sizes, check, divisors
from models.simulator.hardware import Cluster
from models.simulator.job import Job
from models.simulator.memory import Memory, memory
from models.simulator.shape import Shape
from models.simulator.step import Step, simulate

USABLE = 0.94
"""Of a GPU's memory: the allocator's fragments take the rest."""

LARGEST_MICRO_BATCH = 16

LEAST_CONTEXT = 4096
"""Tokens of a sequence that a rank keeps: splitting shorter ones helps nobody."""


@dataclass(frozen=True)
class Task:
    """What is to be trained: a network, on sequences of one length, so many of them per optimizer step."""

    shape: Shape
    seq_len: int
    sequences: int
    optimizer: Literal["adamw", "muon"] = "adamw"

    @property
    def sizes(self) -> Sizes:
        s = self.shape
        return Sizes(s.heads, s.kv_heads, s.hidden_size, s.intermediate_size, self.seq_len, self.sequences)


@dataclass(frozen=True)
class Outcome:
    """A job, its memory per rank and its step."""

    job: Job
    cluster: Cluster
    memory: Memory
    step: Step

    @property
    def fits(self) -> bool:
        return self.memory.total <= USABLE * self.cluster.gpu.memory

    @property
    def tokens_per_gpu(self) -> float:
        """Tokens per GPU and second."""
        return self.job.tokens_per_gpu / self.step.seconds

    @property
    def mfu(self) -> float:
        """Useful operations over the data sheet's peak."""
        return self.tokens_per_gpu * self.job.shape.operations_per_token(self.job.seq_len) / self.cluster.gpu.peak


class NothingFits(ValueError):
    """No possible mesh, or none that fits the memory; the message says what comes nearest."""


def assess(job: Job, cluster: Cluster) -> Outcome:
    """One job on one cluster."""
    return Outcome(job, cluster, memory(job), simulate(job, cluster))


def search(task: Task, cluster: Cluster) -> list[Outcome]:
    """Every possible job that fits, the fastest first.

    Raises:
        NothingFits: there is none.
    """
    jobs = list(_jobs(task, cluster))
    if not jobs:
        raise NothingFits(
            f"no mesh of {cluster.gpus} GPUs divides {task.sequences} sequences per step (micro_batch x accumulation) "
            f"of {task.seq_len} tokens; expected replicate x shard to divide the sequences, and tensor the heads; "
            "enlarge accumulation or take another number of GPUs"
        )
    fitting = [job for job in jobs if memory(job).total <= USABLE * cluster.gpu.memory]
    if not fitting:
        least = min(jobs, key=lambda job: memory(job).total)
        raise NothingFits(
            f"nothing fits {cluster.gpus} x {cluster.gpu.name}: the leanest, {least.mesh}, needs "
            f"{memory(least).total / 1e9:.1f} GB per rank of {USABLE * cluster.gpu.memory / 1e9:.1f} GB; "
            "take more GPUs or larger ones"
        )
    outcomes = [assess(job, cluster) for job in fitting]
    return sorted(outcomes, key=lambda outcome: (outcome.step.seconds, outcome.memory.total))


def _jobs(task: Task, cluster: Cluster) -> Iterator[Job]:
    for mesh in _meshes(task, cluster):
        rows = task.sequences // mesh.data
        for micro_batch in divisors(rows):
            if micro_batch > LARGEST_MICRO_BATCH:
                break
            for checkpointing in (False, True):
                yield Job(
                    task.shape, task.seq_len, micro_batch, rows // micro_batch, mesh, checkpointing, task.optimizer
                )


def _meshes(task: Task, cluster: Cluster) -> Iterator[Mesh]:
    for tensor in divisors(cluster.per_node):
        for context in _powers_of_two(min(cluster.per_node // tensor, max(1, task.seq_len // LEAST_CONTEXT))):
            data = cluster.gpus // (tensor * context)
            for shard in divisors(data):
                for parameters in sorted({1, shard * context, cluster.per_node // tensor}):
                    mesh = Mesh(data // shard, shard, context, tensor, parameters)
                    try:
                        check(mesh, task.sizes, cluster.gpus)
                    except ImpossibleMesh:
                        continue
                    yield mesh


def _powers_of_two(limit: int) -> list[int]:
    return [1 << bit for bit in range(limit.bit_length()) if 1 << bit <= limit]
