"""One optimizer step on a timeline: compute and data-parallel communication side by side, then the update."""

import math
from dataclasses import dataclass, replace

from models.simulator.collectives import Group, Kind, seconds, sent
from models.simulator.compute import Costs, costs, optimizer_step
from models.simulator.hardware import Cluster
from models.simulator.job import (
    Job,
    context_group,
    data_group,
    parameter_group,
    replicate_group,
    states_group,
    tensor_group,
)
from models.simulator.timeline import Timeline

JITTER = 0.004
"""Standard deviation of a rank's compute time over its mean; a step waits for the slowest of n, sqrt(2 ln n)
deviations late (the largest of n normal values; David and Nagaraja 2003, Order Statistics, section 10.5).

Calibrated, on all of InternEvo's figures: their mean squared error is least from 0.004 to 0.006, and flat around it
(root 4.6% without any, 4.4% at 0.004, 4.3% at 0.006, 4.4% at 0.01)."""

COLLECTIVE_MULTIPROCESSORS = 16
"""That NCCL's channels take from the computation beside them (its default of channels over the network)."""


@dataclass(frozen=True)
class Step:
    """Seconds of one step, and bytes that each rank sends in it."""

    seconds: float
    compute: float
    communication: float
    exposed: float
    stragglers: float
    bytes_sent: dict[str, float]

    @property
    def overlap(self) -> float:
        """Share of the communication that is hidden behind computation."""
        return 1 - self.exposed / self.communication if self.communication else 1.0


def simulate(job: Job, cluster: Cluster) -> Step:
    """The step of one rank that is neither fast nor slow, and how long it waits for the slowest.

    From the third micro-batch on, each one more costs what the third did.
    """
    if job.accumulation <= 3:
        return _simulate(job, cluster)
    two, three = (_simulate(replace(job, accumulation=number), cluster) for number in (2, 3))
    return _extended(three, two, job.accumulation - 3)


def _extended(three: Step, two: Step, more: int) -> Step:
    values = {
        field: getattr(three, field) + more * (getattr(three, field) - getattr(two, field))
        for field in ("seconds", "compute", "communication", "exposed", "stragglers")
    }
    wire = {what: size + more * (size - two.bytes_sent[what]) for what, size in three.bytes_sent.items()}
    return Step(**values, bytes_sent=wire)


def _simulate(job: Job, cluster: Cluster) -> Step:
    run = _Run(job, cluster)
    for number in range(job.accumulation):
        run.forward(first=number == 0)
        run.backward(last=number == job.accumulation - 1)
    run.update()
    compute, communication = run.time.busy["compute"], run.blocking + run.time.busy.get("network", 0.0)
    pure = compute - run.blocking
    exposed = min(communication, max(0.0, run.time.end - pure))
    contention = (communication - exposed) * COLLECTIVE_MULTIPROCESSORS / cluster.gpu.multiprocessors
    stragglers = pure * JITTER * math.sqrt(2 * math.log(job.mesh.ranks)) if job.mesh.ranks > 1 else 0.0
    total = run.time.end + contention + stragglers
    return Step(total, pure, communication, exposed, stragglers, run.sent)


class _Run:
    """Adds a step's tasks to a timeline, in the order in which a rank issues them."""

    def __init__(self, job: Job, cluster: Cluster) -> None:
        self.job, self.cluster, self.time = job, cluster, Timeline()
        self.costs: Costs = costs(job, cluster.gpu)
        self.sent: dict[str, float] = {}
        self.blocking = 0.0  # seconds of collectives on the compute stream: tensor and context parallel
        self.synced = 0.0  # when the last gradient is reduced
        self._bucket = 0.0

    def forward(self, first: bool) -> None:
        """Embedding, layers, head. A layer's weights are gathered while the layer before it computes."""
        gather = self._gather("states") if first or not self.job.gathered_once else None
        self._edge_gather(gather)
        started = 0.0
        for _ in range(self.job.shape.layers):
            ready = gather(self.job.layer_parameters, started) if gather else 0.0
            started = max(ready, self.time.add("compute", 0.0))
            self.time.add("compute", self.costs.layer_forward + self._blocking_collectives(), ready)
        self.time.add("compute", self.costs.edges_forward)

    def backward(self, last: bool) -> None:
        """Head, layers from the last to the first, embedding; gradients leave when they are complete.

        Whole weights let gradients accumulate on their rank; sharded ones make every micro-batch scatter its own.
        Copies of a shard are summed once, in the last micro-batch.
        """
        sync = last or not (self.job.gathered_once or self.job.scheme.weights == "broadcast")
        gather = None if self.job.gathered_once else self._gather("parameters")
        started = 0.0
        done = self.time.add("compute", self.costs.edges_backward)
        if sync and self.job.scheme.bucket:
            self._reduce(self.job.edge_parameters / 2, done, last)
        for _ in range(self.job.shape.layers):
            ready = gather(self.job.layer_parameters, started) if gather else 0.0
            started = max(ready, self.time.add("compute", 0.0))
            work = self.costs.layer_backward + self._blocking_collectives(backward=True)
            done = self.time.add("compute", work, ready)
            if sync:
                self._reduce(self.job.layer_parameters, done, last)
        done = max(done, self._sum_over_tensor_ranks())
        if sync:
            self._reduce(self.job.edge_parameters / (2 if self.job.scheme.bucket else 1), done, last, flush=True)

    def update(self) -> None:
        """The global norm, the optimizer, and the broadcasts of what it changed."""
        group = data_group(self.job.mesh, self.cluster)
        norm = seconds("all_reduce", 4, group, self.cluster)
        done = self.time.add("compute", optimizer_step(self.job, self.cluster.gpu), self.synced + norm)
        if self.job.optimizer == "muon" and self.job.scheme.weights == "gather":
            done = self._exchange_matrices(done)
        if self.job.scheme.weights == "broadcast":
            self._broadcast(done)

    def _exchange_matrices(self, after: float) -> float:
        """Every rank sends its part of each matrix to the owner and gets the orthogonalised part back, in bf16.

        Tensor ranks that own parts of the same matrix gather it among themselves.
        """
        mesh = self.job.mesh
        size = 2 * self.job.shape.hidden_parameters / mesh.states
        states, tensor = states_group(mesh, self.cluster), tensor_group(mesh, self.cluster)
        after = self._collective("all_to_all", 2 * size / mesh.tensor, states, after, "matrices")
        return self._collective("all_gather", size, tensor, after, "matrices")

    def _gather(self, which: str):
        mesh = self.job.mesh
        group = states_group(mesh, self.cluster) if which == "states" else parameter_group(mesh, self.cluster)
        if self.job.scheme.weights == "broadcast" or group.ranks == 1:
            return None

        def gather(parameters: float, after: float) -> float:
            size = self.job.scheme.weight_bytes * parameters
            return self._collective("all_gather", size, group, after, "weights")

        return gather

    def _edge_gather(self, gather) -> None:
        if gather:
            self.time.add("compute", 0.0, gather(self.job.edge_parameters, 0.0))

    def _reduce(self, parameters: float, after: float, last: bool, flush: bool = False) -> None:
        scheme, mesh = self.job.scheme, self.job.mesh
        self._bucket += parameters
        if not flush and self._bucket < scheme.bucket:
            return
        size = scheme.gradient_bytes * self._bucket
        self._bucket = 0.0
        if scheme.weights == "broadcast":
            end = self._collective("all_reduce", size, data_group(mesh, self.cluster), after, "gradients")
        else:
            states, copies = states_group(mesh, self.cluster), replicate_group(mesh, self.cluster)
            end = self._collective("reduce_scatter", size, states, after, "gradients")
            if last:
                end = self._collective("all_reduce", size / states.ranks, copies, end, "gradients")
        self.synced = max(self.synced, end)

    def _sum_over_tensor_ranks(self) -> float:
        """Gradients of what tensor ranks hold whole."""
        group = tensor_group(self.job.mesh, self.cluster)
        if group.ranks == 1 or self.job.scheme.split_edges:
            return 0.0
        norms = 2 * self.job.shape.layers * self.job.shape.hidden_size
        size = self.job.scheme.gradient_bytes * (self.job.edge_parameters + norms)
        return self._collective("all_reduce", size, group, self.time.add("compute", 0.0), "tensor")

    def _broadcast(self, after: float) -> None:
        """One per rank that owns states, or per tensor when those are fewer: a tensor has one owner."""
        group = states_group(self.job.mesh, self.cluster)
        if group.ranks == 1:
            return
        parts = min(group.ranks, self.job.shape.tensors)
        size = self.job.scheme.weight_bytes * self.job.shape.parameters / self.job.mesh.tensor / parts
        for _ in range(parts):
            after = self._collective("broadcast", size, group, after, "weights")

    def _collective(self, kind: Kind, size: float, group: Group, after: float, what: str) -> float:
        if group.ranks == 1:
            return after
        self._count(what, kind, size, group)
        return self.time.add("network", seconds(kind, size, group, self.cluster), after)

    def _count(self, what: str, kind: Kind, size: float, group: Group) -> None:
        if kind == "reduce_scatter" and self.job.scheme.scatter_by_all_reduce:
            kind = "all_reduce"
        self.sent[what] = self.sent.get(what, 0.0) + sent(kind, size, group.ranks)

    def _blocking_collectives(self, backward: bool = False) -> float:
        """Of one layer: two pairs of gather and scatter for tensor parallelism, keys and values for context."""
        job, mesh = self.job, self.job.mesh
        tensor, context = tensor_group(mesh, self.cluster), context_group(mesh, self.cluster)
        total = 0.0
        size = job.scheme.activation_bytes * job.tokens * job.shape.hidden_size
        again = backward and job.checkpointing
        if tensor.ranks > 1:
            pair: tuple[Kind, ...] = ("all_gather", "reduce_scatter")
            for kind in pair if job.scheme.sequence_parallel else ("all_reduce",):
                # computed again, a layer stops before its last output (torch.utils.checkpoint, early stop)
                rounds = 2 + (1 if kind == "reduce_scatter" else 2) * again
                self._count("tensor", kind, rounds * size, tensor)
                total += rounds * seconds(kind, size, tensor, self.cluster)
        if context.ranks > 1:
            keys = 2 * job.scheme.activation_bytes * job.tokens * mesh.context * job.shape.kv_size / mesh.tensor
            gather, scatter = ("all_gather",), ("reduce_scatter",)
            kinds: tuple[Kind, ...] = (*(gather if again else ()), *scatter) if backward else gather
            for kind in kinds:
                self._count("context", kind, keys, context)
                total += seconds(kind, keys, context, self.cluster)
        self.blocking += total
        return total
