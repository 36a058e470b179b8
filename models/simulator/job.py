"""What is simulated: a network, a step's data, a mesh, and how gradients and weights travel."""

from dataclasses import dataclass
from typing import Literal

from models.mesh import Mesh
from models.simulator.collectives import Group
from models.simulator.hardware import Cluster
from models.simulator.shape import Shape


@dataclass(frozen=True)
class Scheme:
    """How an implementation of data parallelism moves gradients and weights.

    broadcast: gradients all-reduced in buckets while the last micro-batch runs backward, then every owner of optimizer
    states broadcasts the weights that it updated (InternEvo's HybridZeroOptimizer, Wang et al. 2024).
    gather: gradients reduce-scattered layer by layer, weights gathered layer by layer before use (torch's FSDP2).
    """

    weights: Literal["gather", "broadcast"] = "gather"
    gradient_bytes: int = 4  # of one gradient on the wire
    weight_bytes: int = 2
    activation_bytes: int = 2
    bucket: int = 0  # gradients per collective; 0 = a layer's
    sequence_parallel: bool = True
    scatter_by_all_reduce: bool = False  # gloo has no reduce_scatter of its own
    loss_elements: int = 1 << 22  # of the logits in a chunk of the loss, but at least as many rows as follow
    loss_rows: int = 256  # (models/losses.py); no elements = all at once
    split_edges: bool = False  # tensor ranks split embedding and head (Megatron), or hold them whole and split rows


FSDP2 = Scheme()
INTERNEVO = Scheme(
    "broadcast", gradient_bytes=2, bucket=512 * 1024**2, sequence_parallel=False, loss_elements=0, split_edges=True,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One optimizer step: per rank `accumulation` micro-batches of `micro_batch` sequences."""

    shape: Shape
    seq_len: int
    micro_batch: int
    accumulation: int
    mesh: Mesh
    checkpointing: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    scheme: Scheme = FSDP2

    @property
    def tokens(self) -> int:
        """Of one micro-batch on one rank; context ranks split the sequence."""
        return self.micro_batch * self.seq_len // self.mesh.context

    @property
    def tokens_per_gpu(self) -> float:
        """Of one step over all ranks, per GPU."""
        return self.tokens * self.accumulation / self.mesh.tensor

    @property
    def layer_parameters(self) -> float:
        """Of one layer, on one tensor rank; norms are whole on each."""
        return self.shape.layer_matrices / self.mesh.tensor + 2 * self.shape.hidden_size

    @property
    def edge_parameters(self) -> float:
        """Embedding, head and last norm on one tensor rank."""
        return self.shape.edge_parameters / (self.mesh.tensor if self.scheme.split_edges else 1)

    @property
    def parameters(self) -> float:
        """All that one tensor rank computes with."""
        return self.shape.layers * self.layer_parameters + self.edge_parameters

    @property
    def gathered_once(self) -> bool:
        """Whether weights stay whole from the first micro-batch's forward to the step's end."""
        return self.mesh.parameter_shard == 1


def tensor_group(mesh: Mesh, cluster: Cluster) -> Group:
    """Ranks that split each layer's matrices."""
    return _group(mesh.tensor, 1, cluster)


def context_group(mesh: Mesh, cluster: Cluster) -> Group:
    """Ranks that split each sequence."""
    return _group(mesh.context, mesh.tensor, cluster)


def states_group(mesh: Mesh, cluster: Cluster) -> Group:
    """Ranks that shard the optimizer's states."""
    return _group(mesh.states, mesh.tensor, cluster)


def parameter_group(mesh: Mesh, cluster: Cluster) -> Group:
    """Ranks across which weights lie between forward and backward."""
    return _group(mesh.parameter_shard, mesh.tensor, cluster)


def replicate_group(mesh: Mesh, cluster: Cluster) -> Group:
    """Ranks that hold the same shard."""
    return _group(mesh.replicate, mesh.tensor * mesh.states, cluster)


def data_group(mesh: Mesh, cluster: Cluster) -> Group:
    """Ranks over which gradients are summed."""
    return _group(mesh.replicate * mesh.states, mesh.tensor, cluster)


def _group(size: int, stride: int, cluster: Cluster) -> Group:
    """`size` ranks that lie `stride` apart, on nodes of the cluster."""
    inside = min(size, max(1, cluster.per_node // stride))
    nodes = -(-size // inside)
    return Group(inside, nodes, max(1, cluster.per_node // inside) if nodes > 1 else 1)
