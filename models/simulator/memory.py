"""Bytes per rank. Weights and states after Rajbhandari et al. 2020 (ZeRO), activations after Korthikanti et al. 2023.

Mixed precision with AdamW: 2 bytes per weight to compute with, 4 master weight, 4 + 4 moments (ZeRO, section 3.1).
Muon keeps one moment of the hidden matrices.
"""

from dataclasses import asdict, dataclass

from models.simulator.job import Job

MASTER_AND_MOMENTS = 12
MOMENT = 4
RESERVED = 2.5e9
"""The CUDA context, NCCL's buffers (4 MB per channel and peer) and the allocator's unused parts."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest rank."""

    weights: float
    gradients: float
    states: float
    activations: float
    logits: float
    reserved: float = RESERVED

    @property
    def total(self) -> float:
        return sum(asdict(self).values())


def memory(job: Job) -> Memory:
    """What one rank holds when it holds most: at the start of the backward pass."""
    return Memory(_weights(job), _gradients(job), _states(job), _activations(job), _logits(job))


def _states(job: Job) -> float:
    size = MASTER_AND_MOMENTS * job.parameters
    if job.optimizer == "muon":
        size -= MOMENT * job.shape.hidden_parameters / job.mesh.tensor
    return size / job.mesh.states


def _weights(job: Job) -> float:
    """In bf16: all of them, or, sharded, two layers and the edges gathered beside what the others leave behind.

    Weights that are gathered again from the master copy (parameter_shard = states) leave nothing behind.
    """
    mesh, size = job.mesh, job.scheme.weight_bytes
    whole = size * job.parameters
    if job.gathered_once:
        return whole
    gathered = size * (2 * job.layer_parameters + job.edge_parameters)
    return gathered + (0 if mesh.parameter_shard == mesh.states else whole / mesh.parameter_shard)


def _gradients(job: Job) -> float:
    """Whole while they accumulate beside whole weights, else sharded as the states are, plus one layer."""
    size = job.scheme.gradient_bytes
    if job.scheme.weights == "broadcast" or (job.gathered_once and job.accumulation > 1):
        return size * job.parameters
    return size * (job.parameters / job.mesh.states + max(2 * job.layer_parameters, job.edge_parameters))


def _activations(job: Job) -> float:
    layer = layer_activations(job)
    if not job.checkpointing:
        return job.shape.layers * layer
    return job.shape.layers * _layer_input(job) + layer


def layer_activations(job: Job) -> float:
    """What one layer keeps for its backward pass, bytes: bf16 inputs of each operation, with flash attention.

    Per token: both norms' inputs and outputs (4h), q, k, v (h + 2 kv), attention's output (h) and its fp32 log-sum per
    head, gate, up and their product (3f). Tensor parallelism splits what lies between column- and row-parallel
    matrices; sequence parallelism the rest (Korthikanti et al. 2023, section 4.2).
    """
    shape, t = job.shape, job.mesh.tensor
    h, f = shape.hidden_size, shape.intermediate_size
    inside = 2 * (2 * h + 2 * shape.kv_size + 3 * f) + 4 * shape.heads
    outside = 2 * 2 * h  # both norms' inputs, which sequence parallelism splits
    gathered = 2 * 2 * h  # their outputs, gathered again in the backward pass
    rest = outside + gathered
    return job.tokens * (inside / t + rest / (t if job.scheme.sequence_parallel else 1))


def _layer_input(job: Job) -> float:
    split = job.mesh.tensor if job.scheme.sequence_parallel else 1
    return 2 * job.tokens * job.shape.hidden_size / split


def _logits(job: Job) -> float:
    """Of the loss over this rank's N positions: at once, or in chunks of C with the gradients made beside them.

    At once: scores in bf16, in fp32 and their fp32 gradient, [N, V / tensor]. In chunks (models/losses.py): the head
    in bf16, the gradient by the hidden states in fp32, and of a chunk [C, V] the bf16 scores and four fp32 steps of
    the softmax. The gradient by the head counts among the gradients.
    """
    scheme, h, v = job.scheme, job.shape.hidden_size, job.shape.vocab_size
    if not scheme.loss_elements:
        return 10 * job.tokens * v / job.mesh.tensor
    positions = job.tokens / job.mesh.tensor  # sequence parallelism: each rank's stretch, for all of the vocabulary
    rows = min(positions, max(scheme.loss_rows, scheme.loss_elements // v))
    return 2 * v * h + 4 * positions * h + (2 + 4 * 4) * rows * v
