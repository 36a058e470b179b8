"""Collectives: bytes that each rank sends, and seconds, by ring and tree. n ranks, S bytes of the whole tensor.

The cost model and its constants are NCCL's own (src/graph/tuning.cc): latency per ring step, a base latency, a factor
for the plateau that large messages reach on rings across nodes; all_reduce takes the faster of ring and tree.
"""

import math
from dataclasses import dataclass
from typing import Literal

from models.simulator.hardware import NVLINK_EFFICIENCY, Cluster

Kind = Literal["all_reduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all"]

BASE = 8.4e-6
PLATEAU = 1.9  # on the latency of a ring across nodes for messages of at least PLATEAU_BYTES per rank
PLATEAU_BYTES = 65536 / 16
TREE_LINK, TREE_NETWORK = 28e-6, 50e-6  # latency of a tree's step, a 256 KB chunk included
TREE_BANDWIDTH = 0.9 * 0.9  # of the ring's, and the table of corrections for messages of 128 MB


@dataclass(frozen=True)
class Group:
    """Ranks that communicate: so many per node on so many nodes; `sharers` such groups use a node's network at once."""

    per_node: int
    nodes: int = 1
    sharers: int = 1

    @property
    def ranks(self) -> int:
        return self.per_node * self.nodes


def sent(kind: Kind, size: float, ranks: int) -> float:
    """Bytes that each rank sends in a bandwidth-optimal ring (Thakur et al. 2005; Patarasuk and Yuan 2009).

    A broadcast along a ring is forwarded by all ranks but the last: (n-1)/n of the tensor on average. For all_to_all
    S is what one rank holds, of which it keeps a share.
    """
    share = (ranks - 1) / ranks * size
    return 2 * share if kind == "all_reduce" else share


def seconds(kind: Kind, size: float, group: Group, cluster: Cluster) -> float:
    """The time of one collective over `size` bytes (of the whole tensor)."""
    if group.ranks == 1 or size == 0:
        return 0.0
    ring = _ring_latency(kind, size, group, cluster) + _steps_of_data(kind, size, group) / _bandwidth(group, cluster)
    if kind != "all_reduce" or group.nodes == 1:
        return ring
    tree = 2 * ((group.per_node - 1) * TREE_LINK + math.log2(group.nodes) * TREE_NETWORK)
    return min(ring, tree + 2 * size / (TREE_BANDWIDTH * _bandwidth(group, cluster)))


def _steps_of_data(kind: Kind, size: float, group: Group) -> float:
    """Bytes that pass over the narrowest link of the ring."""
    return size if kind == "broadcast" else sent(kind, size, group.ranks)


def _ring_latency(kind: Kind, size: float, group: Group, cluster: Cluster) -> float:
    rounds = 2 if kind == "all_reduce" else 1
    between = rounds * (group.nodes if group.nodes > 1 else 0)
    inside = rounds * (group.ranks - 1) - between
    latency = max(0, inside) * cluster.link_latency + between * cluster.network.latency
    plateau = group.nodes > 1 and size >= group.ranks * PLATEAU_BYTES
    return BASE + latency * (PLATEAU if plateau else 1)


def _bandwidth(group: Group, cluster: Cluster) -> float:
    inside = cluster.gpu.link * NVLINK_EFFICIENCY
    return inside if group.nodes == 1 else min(inside, cluster.network.bandwidth / group.sharers)
