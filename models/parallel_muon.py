"""Muon (Jordan et al. 2024) over sharded matrices: each has one owner, who sees it whole, orthogonalises it, and sends
every rank its rows of the result. Two exchanges per step, in bf16, whatever the number of matrices.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from models.muon import Muon, orthogonalised


class ShardedMuon(Muon):
    """Muon for matrices that are DTensors on meshes with a dimension `states`. All ranks must step together."""

    def _own(self, matrix: Tensor) -> Tensor:
        return matrix.to_local()

    def _updates(self, matrices: Sequence[Tensor], momenta: list[Tensor]) -> list[Tensor]:
        return orthogonalised_by_owners(matrices, momenta)


def orthogonalised_by_owners(matrices: Sequence[DTensor], momenta: Sequence[Tensor]) -> list[Tensor]:
    """This rank's rows of each orthogonalised momentum, from this rank's rows of each momentum [rows, columns].

    `matrices` say how they are sharded: their rows over the mesh dimension `states`, after a split over `tensor`.
    """
    mesh = matrices[0].device_mesh
    group, ranks, rank = mesh.get_group("states"), mesh["states"].size(), mesh.get_local_rank("states")
    owned = _dealt(matrices, ranks)
    parts = {k: _rows(matrix, ranks) for k, matrix in enumerate(matrices)}
    columns = {k: momentum.shape[1] for k, momentum in enumerate(momenta)}
    sizes = [[sum(parts[k][r] * columns[k] for k in mine) for r in range(ranks)] for mine in owned]  # [owner][rank]

    there = _exchange([momenta[k] for mine in owned for k in mine], [s[rank] for s in sizes], sizes[rank], group)
    whole = {k: torch.cat(rows) for k, rows in _cut(there, owned[rank], parts, columns, ranks).items()}
    joined = [_joined(rows, matrices[k]) for k, rows in whole.items()]
    results = {k: _part(matrix, matrices[k]) for k, matrix in zip(whole, orthogonalised(joined), strict=True)}
    outgoing = [results[k].split(parts[k])[r] for r in range(ranks) for k in owned[rank]]
    back = _exchange(outgoing, sizes[rank], [s[rank] for s in sizes], group)
    order = [k for mine in owned for k in mine]
    pieces = back.split([parts[k][rank] * columns[k] for k in order])
    found = {k: piece.view(-1, columns[k]) for k, piece in zip(order, pieces, strict=True)}
    return [found[k] for k in range(len(matrices))]


def _dealt(matrices: Sequence[Tensor], ranks: int) -> list[list[int]]:
    """Each rank's matrices: the largest first, always to the rank that has least to do."""
    owned: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for k in sorted(range(len(matrices)), key=lambda k: (-matrices[k].numel(), k)):
        least = load.index(min(load))
        owned[least].append(k)
        load[least] += matrices[k].numel()
    return owned


def _rows(matrix: DTensor, ranks: int) -> list[int]:
    """How many rows each rank has: FSDP cuts the first dimension like torch.chunk."""
    place = _tensor_placement(matrix)
    total = matrix.shape[0] // (matrix.device_mesh["tensor"].size() if place == 0 else 1)
    chunk = -(-total // ranks)
    return [max(0, min(chunk, total - r * chunk)) for r in range(ranks)]


def _tensor_placement(matrix: DTensor) -> int | None:
    """The dimension that tensor parallelism splits."""
    names = matrix.device_mesh.mesh_dim_names or ()
    return matrix.placements[names.index("tensor")].dim if "tensor" in names else None


def _exchange(tensors: Sequence[Tensor], sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
    """All to all: flat tensors in the order of the ranks that they go to, so many elements each."""
    outgoing = torch.cat([tensor.reshape(-1) for tensor in tensors])
    incoming = outgoing.new_empty(sum(received))
    dist.all_to_all_single(incoming, outgoing, received, sent, group=group)
    return incoming


def _cut(
    flat: Tensor, mine: list[int], parts: dict[int, list[int]], columns: dict[int, int], ranks: int
) -> dict[int, list[Tensor]]:
    """What came from each rank in turn, as each matrix's rows in order."""
    order = [(r, k) for r in range(ranks) for k in mine]
    pieces = flat.split([parts[k][r] * columns[k] for r, k in order])
    rows: dict[int, list[Tensor]] = {k: [] for k in mine}
    for (_, k), piece in zip(order, pieces, strict=True):
        rows[k].append(piece.view(-1, columns[k]))
    return rows


def _joined(rows: Tensor, matrix: DTensor) -> Tensor:
    """A whole matrix; a tensor group's ranks own parts of the same ones and give each other theirs."""
    place = _tensor_placement(matrix)
    if place is None:
        return rows
    mesh = matrix.device_mesh["tensor"]
    parts = [torch.empty_like(rows) for _ in range(mesh.size())]
    dist.all_gather(parts, rows.contiguous(), group=mesh.get_group())
    return torch.cat(parts, place)


def _part(whole: Tensor, matrix: DTensor) -> Tensor:
    """This tensor rank's part of a whole matrix."""
    place = _tensor_placement(matrix)
    if place is None:
        return whole
    mesh = matrix.device_mesh["tensor"]
    return whole.chunk(mesh.size(), place)[mesh.get_local_rank()].contiguous()
