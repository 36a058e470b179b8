"""Seconds on one GPU: matrix products at their sustained rate, the rest at the memory's (Williams et al. 2009)."""

import math
from dataclasses import dataclass

from models.simulator.hardware import Gpu
from models.simulator.job import Job

GEMM_EFFICIENCY = 0.665
"""Of the data sheet's peak that a transformer layer's bf16 products sustain, before wave quantization.

Calibrated, on InternEvo's two single-node figures without tensor parallelism (0.9% and 0.5% off with it). The other
two calibrated constants are the network's efficiency (hardware.py) and the stragglers' jitter (step.py)."""

ATTENTION_EFFICIENCY = 0.5
"""FlashAttention 2, forward and backward, on an A100 (Dao 2023, figures 4 to 6: 50 to 73% of the peak)."""

MEMORY_EFFICIENCY = 0.85
"""Of the memory's data-sheet bandwidth that a streaming kernel reaches."""

TILE = (256, 128)
"""Rows and columns of the output that one multiprocessor makes at once (NVIDIA, Matrix Multiplication Background)."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one micro-batch on one rank, communication apart."""

    layer_forward: float
    layer_backward: float
    edges_forward: float
    edges_backward: float


def costs(job: Job, gpu: Gpu) -> Costs:
    """Of a layer and of the edges (embedding, head and loss)."""
    forward = _products(job, gpu) + _attention(job, gpu) + _elementwise(job, gpu)
    backward = 2 * _products(job, gpu) + 2.5 * _attention(job, gpu) + 2 * _elementwise(job, gpu)
    backward += _accumulated(job, gpu, job.layer_parameters)
    head = gemm(job.tokens, job.shape.hidden_size, job.shape.vocab_size / job.mesh.tensor, gpu)
    scores = job.tokens * job.shape.vocab_size / job.mesh.tensor
    recomputed = forward if job.checkpointing else 0.0
    return Costs(
        forward,
        backward + recomputed,
        head + streamed(12 * scores, gpu),  # written in bf16, cast to fp32, read for the loss
        2 * head + streamed(12 * scores, gpu) + _accumulated(job, gpu, job.edge_parameters),
    )


def gemm(rows: float, inner: float, columns: float, gpu: Gpu) -> float:
    """Seconds of [rows, inner] @ [inner, columns], or of either of its gradients."""
    tiles = math.ceil(rows / TILE[0]) * math.ceil(columns / TILE[1])
    waves = math.ceil(tiles / gpu.multiprocessors)
    used = rows * columns / (TILE[0] * TILE[1]) / (waves * gpu.multiprocessors)
    arithmetic = 2 * rows * inner * columns / (gpu.peak * GEMM_EFFICIENCY * min(1.0, used))
    return max(arithmetic, streamed(2 * (rows * inner + inner * columns + rows * columns), gpu))


def streamed(size: float, gpu: Gpu) -> float:
    """Seconds to read or write so many bytes of the GPU's memory."""
    return size / (gpu.bandwidth * MEMORY_EFFICIENCY)


def optimizer_step(job: Job, gpu: Gpu) -> float:
    """AdamW over this rank's states: reads gradient, weight and both moments, writes three and the bf16 weight.

    Muon writes no second moment of a matrix but orthogonalises it: five Newton-Schulz iterations of 4 m m n + 2 m m m
    operations for m <= n (Jordan et al. 2024). Each matrix has one owner among the ranks that shard the states.
    """
    size = 4 + 3 * 8 + job.scheme.weight_bytes
    seconds = streamed(size * job.parameters / job.mesh.states, gpu)
    if job.optimizer == "muon":
        sides = [(min(pair), max(pair)) for pair in job.shape.matrices()]
        operations = job.shape.layers * sum(5 * (4 * m * m * n + 2 * m**3) for m, n in sides)
        owners = min(job.mesh.states, job.shape.layers * len(sides))
        seconds += operations / owners / (gpu.peak * GEMM_EFFICIENCY)
    return seconds


def _products(job: Job, gpu: Gpu) -> float:
    """Column-parallel matrices lose outputs to tensor parallelism, row-parallel ones (o, down) inputs."""
    t, total = job.mesh.tensor, 0.0
    for number, (inputs, outputs) in enumerate(job.shape.matrices()):
        row_parallel = number in (3, 6)
        inner, columns = (inputs / t, outputs) if row_parallel else (inputs, outputs / t)
        total += gemm(job.tokens, inner, columns, gpu)
    return total


def _attention(job: Job, gpu: Gpu) -> float:
    """Scores and weighted values, causal: 2 T h operations per token (Dao 2023)."""
    operations = 2 * job.tokens * job.seq_len * job.shape.hidden_size / job.mesh.tensor
    return operations / (gpu.peak * ATTENTION_EFFICIENCY)


def _elementwise(job: Job, gpu: Gpu) -> float:
    """Norms with their residual (16h bytes per token), rotary embedding (8h), gated activation (6f)."""
    h, t = job.shape.hidden_size, job.mesh.tensor
    norms = 16 * h / (t if job.scheme.sequence_parallel else 1)
    return streamed(job.tokens * (norms + (8 * h + 6 * job.shape.intermediate_size) / t), gpu)


def _accumulated(job: Job, gpu: Gpu, parameters: float) -> float:
    """Gradients are added to those of earlier micro-batches: two reads and a write."""
    if job.accumulation == 1:
        return 0.0
    return streamed(3 * job.scheme.gradient_bytes * parameters, gpu)
