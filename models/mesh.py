"""How many processes share what: the mesh of a parallel run, and which meshes are possible.

The words are torch's: data-parallel ranks = replicate x shard, then context, then tensor, the last varying fastest, so
that tensor groups lie inside a node. `shard` is the group that shards the optimizer's states (and the fp32 weights);
`parameter_shard` the group across which the weights lie between a layer's forward and its backward:

    parameter_shard 1            whole on every rank once gathered: ZeRO stages 1 and 2 (InternEvo's `zero1`)
    parameter_shard = shard      sharded as the states are: ZeRO stage 3, torch's FSDP2
    between                      resharded to a smaller group, such as a node (ZeRO++ hpZ, Wang et al. 2023)

Shard 1 is plain data parallelism, replicate and shard above 1 are hybrid sharding (MiCS, Zhang et al. 2022).
"""

import math
from dataclasses import dataclass


class ImpossibleMesh(ValueError):
    """The numbers do not fit each other; the message says which product or quotient must hold."""


@dataclass(frozen=True)
class Mesh:
    """The size of each kind of group. Context ranks also shard the states: the sharded group has shard x context."""

    replicate: int = 1
    shard: int = 1
    context: int = 1
    tensor: int = 1
    parameter_shard: int = 1

    @property
    def ranks(self) -> int:
        """All processes."""
        return self.replicate * self.shard * self.context * self.tensor

    @property
    def data(self) -> int:
        """Ranks that see different sequences."""
        return self.replicate * self.shard

    @property
    def states(self) -> int:
        """Ranks across which the optimizer's states are sharded."""
        return self.shard * self.context

    def __str__(self) -> str:
        return (
            f"replicate {self.replicate} x shard {self.shard} x context {self.context} x tensor {self.tensor}"
            f" (parameters over {self.parameter_shard})"
        )


@dataclass(frozen=True)
class Sizes:
    """What a mesh must divide: the network's and the step's sizes."""

    heads: int
    kv_heads: int
    hidden_size: int
    intermediate_size: int
    seq_len: int
    sequences: int


def check(mesh: Mesh, sizes: Sizes, processes: int) -> None:
    """Refuse a mesh that does not fit the processes or the sizes.

    Raises:
        ImpossibleMesh: with the product that must hold.
    """
    product = f"replicate x shard x context x tensor = {mesh.replicate} x {mesh.shard} x {mesh.context} x {mesh.tensor}"
    if mesh.ranks != processes:
        raise ImpossibleMesh(f"{product} = {mesh.ranks}; expected the number of processes, {processes}")
    if mesh.states % mesh.parameter_shard:
        raise ImpossibleMesh(
            f"parameter_shard = {mesh.parameter_shard}; expected a divisor of shard x context = {mesh.states}"
        )
    split = {
        "heads": sizes.heads, "kv_heads": sizes.kv_heads, "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
    }  # fmt: skip
    for name, size in split.items():
        if size % mesh.tensor:
            raise ImpossibleMesh(f"tensor = {mesh.tensor}; expected a divisor of {name}, {size}")
    if sizes.seq_len % (mesh.context * mesh.tensor):
        raise ImpossibleMesh(
            f"context x tensor = {mesh.context} x {mesh.tensor}; expected a divisor of the sequence length, "
            f"{sizes.seq_len}, which both split"
        )
    if sizes.sequences % mesh.data:
        raise ImpossibleMesh(
            f"replicate x shard = {mesh.replicate} x {mesh.shard}; expected a divisor of the sequences per step, "
            f"micro_batch x accumulation = {sizes.sequences}"
        )


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    low = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*low, *(number // d for d in low)})
