"""GPUs, nodes and networks. Seconds, bytes and operations per second throughout."""

import re
from dataclasses import dataclass

NVLINK_EFFICIENCY = 235 / 300
"""Largest bus bandwidth of NCCL on an A100 node over the link rate (NCCL, src/graph/tuning.cc: 235 GB/s)."""

NETWORK_EFFICIENCY = 0.72
"""Of the line rate that collectives sustain over RoCE, after headers, congestion control and unlucky routes.

Calibrated, on InternEvo's hybrid figures for 16 to 1,024 GPUs; tuned fabrics reach 0.9."""


@dataclass(frozen=True)
class Gpu:
    """One accelerator.

    peak: dense bf16 operations/s. memory: bytes. bandwidth: of its memory, bytes/s. link: to its neighbours in the
    node, bytes/s in each direction. multiprocessors: for wave quantization.
    """

    name: str
    peak: float
    memory: float
    bandwidth: float
    link: float
    multiprocessors: int
    per_node: int = 8


GPUS = {
    gpu.name: gpu
    for gpu in (  # vendor data sheets; dense bf16, without sparsity
        Gpu("A100-40G", 312e12, 40e9, 1.555e12, 300e9, 108),
        Gpu("A100-80G", 312e12, 80e9, 2.039e12, 300e9, 108),
        Gpu("A800-80G", 312e12, 80e9, 2.039e12, 200e9, 108),
        Gpu("H100-80G", 989e12, 80e9, 3.35e12, 450e9, 132),
        Gpu("H800-80G", 989e12, 80e9, 3.35e12, 200e9, 132),
        Gpu("H200-141G", 989e12, 141e9, 4.8e12, 450e9, 132),
    )
}


@dataclass(frozen=True)
class Network:
    """What a node has to reach other nodes: so many ports of so many bytes/s each way, and seconds per hop."""

    ports: int
    port: float
    latency: float = 9.6e-6  # NCCL, src/graph/tuning.cc: a ring step of the Simple protocol over the network

    @property
    def bandwidth(self) -> float:
        """Of a node, bytes/s in each direction."""
        return self.ports * self.port * NETWORK_EFFICIENCY


@dataclass(frozen=True)
class Cluster:
    """So many equal GPUs in nodes, joined by a network."""

    gpu: Gpu
    gpus: int
    network: Network
    link_latency: float = 3.4e-6  # NCCL, as above, over NVLink

    @property
    def per_node(self) -> int:
        return min(self.gpu.per_node, self.gpus)


def gpu(name: str) -> Gpu:
    """A GPU by name.

    Raises:
        ValueError: unknown, with the known names.
    """
    found = {known.casefold(): value for known, value in GPUS.items()}.get(name.casefold())
    if found is None:
        raise ValueError(f"unknown GPU {name!r}; expected one of {', '.join(GPUS)}")
    return found


def network(text: str) -> Network:
    """A network written as PORTSxRATEGb, such as 4x100Gb (per node, gigabits/s).

    Raises:
        ValueError: written otherwise.
    """
    match = re.fullmatch(r"(\d{1,3})\s*x\s*(\d{1,4}(?:\.\d+)?)\s*[Gg]b(?:/s|ps)?", text.strip())
    if not match or int(match[1]) < 1 or float(match[2]) <= 0:
        raise ValueError(f"network {text!r}; expected ports x gigabits per second of a node, such as 4x100Gb")
    return Network(int(match[1]), float(match[2]) * 1e9 / 8)
