"""How fast a training run is, and how near to what this machine can do."""

import functools
import resource
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from models.parallel import Alone

GEMM_TRIES = 5
GEMM = {"cuda": (8192, 10)}
"""Side of the product, and products between two looks at the clock, by device.

A GPU of 1e15 operations per second does 2048^3 in 17 us, no longer than a launch and a wait take; 8192^3 in 1.1 ms."""

GEMM_ELSEWHERE = (2048, 1)


class Meter:
    """Tokens per second, model flops utilisation, share of time spent waiting for data, memory; since the last reading.

    The model's arithmetic is 6 operations per parameter and token (Kaplan et al. 2020, section 2.1), embeddings
    are not the head left out, attention not counted; its ceiling is this machine's own matrix product.
    """

    def __init__(self, model: nn.Module, kind: torch.dtype, parallel: Alone) -> None:
        self.model, self.kind, self.parallel = model, kind, parallel
        self.by_rank: list[dict[str, float]] = []
        self.flops_per_token = 6.0 * multiplied_parameters(model)
        self._steps, self._tokens, self._since, self._waited = 0, 0, time.perf_counter(), 0.0

    def step(self, micro_batches: Sequence[Any]) -> None:
        """A step over these is done; every rank has as many tokens."""
        self._steps += 1
        self._tokens += self.parallel.ranks * sum(
            batch.input_ids.numel() for batch in micro_batches if hasattr(batch, "input_ids")
        )

    def read(self, waited: float) -> dict[str, float]:
        """Measures since the last reading; `waited`: seconds spent on waiting for data in all. All ranks must call it.

        Nothing if no step was taken since: where a checkpoint's step is told again, zeros would hide the true ones.
        Waiting and memory are the worst rank's; `by_rank` has each one's, and its speed at a matrix product just now.
        """
        if not self._steps:
            return {}
        seconds = max(time.perf_counter() - self._since, 1e-9)
        rate = self._tokens / seconds
        device, ranks = self.model.device, self.parallel.ranks
        ceiling = gemm_ceiling(device, self.kind)
        now = gemm_speed(device, self.kind, tries=2) if ranks > 1 else ceiling
        own = {
            "gemm_flops": now,
            "data_wait_share": (waited - self._waited) / seconds,
            "memory_bytes": float(peak_memory(device)),
        }
        self.by_rank = [dict(zip(own, row, strict=True)) for row in self.parallel.gathered(list(own.values()))]
        worst = {name: max(rank[name] for rank in self.by_rank) for name in ("data_wait_share", "memory_bytes")}
        readings = {"tokens_per_second": rate, "mfu": rate * self.flops_per_token / (ranks * ceiling), **worst}
        self._steps, self._tokens, self._since, self._waited = 0, 0, time.perf_counter(), waited
        return readings


def multiplied_parameters(model: nn.Module) -> int:
    """Parameters that every token is multiplied with: all but an input embedding that is not also the head."""
    total = sum(parameter.numel() for parameter in model.parameters())
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    return total if head is not None and head.weight is table else total - table.numel()


@functools.cache
def gemm_ceiling(device: torch.device, kind: torch.dtype) -> float:
    """Operations per second of a square matrix product here, measured once."""
    return gemm_speed(device, kind, GEMM_TRIES)


def gemm_speed(device: torch.device, kind: torch.dtype, tries: int) -> float:
    """Operations per second of a square matrix product, the best of a few tries."""
    size, products = GEMM.get(device.type, GEMM_ELSEWHERE)
    left = torch.ones(size, size, dtype=kind, device=device)
    best = float("inf")
    for _ in range(tries):
        _finish(device)
        began = time.perf_counter()
        for _ in range(products):
            left @ left
        _finish(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 * products / best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """The most bytes this process has held so far, on its accelerator if it uses one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
