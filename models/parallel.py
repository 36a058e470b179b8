"""One model on many processes: data, hybrid, tensor, sequence and context parallelism on one torch DeviceMesh.

A rank reads its own rows and its own stretch of every sequence, so losses, label counts and gradients are sums over
all ranks, and the step is that of one process up to the order of additions:

    replicate x shard   rows; weights and optimizer states sharded by torch's FSDP2 over `shard` (x context)
    context             stretches of the sequence; attention gathers keys and values (Llama 3, Grattafiori et al. 2024)
    tensor              matrices by the model's own plan; between them each rank keeps its stretch of the sequence
                        (Megatron's sequence parallelism, Korthikanti et al. 2023), embedding, norms and head included
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from models.device import accelerator
from models.lm import Batch
from models.mesh import Mesh
from models.parallel_attention import attend_across
from models.parallel_tensor import split_matrices, sum_over_tensor_ranks
from models.parallel_weights import by_the_first, receive
from models.rows import Rows


class Alone:
    """One process: nothing to share. The interface that the training loop knows."""

    rank, ranks = 0, 1
    whole_rows = True
    """Whether a rank sees its rows from end to end."""

    def prepare(self, model: nn.Module) -> None:
        """Make the model one of this mesh, on its device, in place, before its optimizers are made."""
        model.to(accelerator())

    def whole(self, model: nn.Module) -> nn.Module | None:
        """The model with all its weights, as one process would have it, on the first rank, which saves it."""
        return model

    def share(self, micro_batches: Sequence[Batch]) -> Sequence[Batch]:
        """This rank's part of a step's data, read."""
        return list(micro_batches)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(model, ...)` with the whole model at hand."""
        return function(*arguments)

    def by_the_first(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(...)` on the first rank alone; what it returned, or raised, on all."""
        return function(*arguments)

    def accumulating(self, last: bool) -> None:
        """Told before each micro-batch's backward pass, whether it is the step's last."""

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks."""
        return list(values)

    def gathered(self, values: Sequence[float]) -> list[list[float]]:
        """Every rank's values, by rank."""
        return [list(values)]

    def meet(self) -> None:
        """Go on when every rank has come here."""

    def clip(self, parameters: Iterable[Tensor], limit: float) -> float:
        """Scale gradients down to a norm of at most `limit`; their norm before."""
        return torch.nn.utils.clip_grad_norm_(parameters, limit).item()


class Parallel(Alone):
    """This process's place in a mesh. torch.distributed must be initialised with mesh.ranks processes."""

    def __init__(self, mesh: Mesh, bf16: bool, device: str = "cpu") -> None:
        self.mesh, self.bf16 = mesh, bf16
        self.rank, self.ranks = dist.get_rank(), mesh.ranks
        self.whole_rows = mesh.context * mesh.tensor == 1
        self.device = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)
        sizes = (mesh.replicate, mesh.shard, mesh.context, mesh.tensor)
        self.grid = init_device_mesh(device, sizes, mesh_dim_names=("replicate", "shard", "context", "tensor"))
        self.sharing = init_device_mesh(
            device, (mesh.replicate, mesh.states, mesh.tensor), mesh_dim_names=("replicate", "states", "tensor")
        )
        self.root: FSDPModule | None = None

    def prepare(self, model: nn.Module) -> None:
        """Every layer in turn, then the rest: given the first rank's weights, split by the model's plan, and sharded.

        On other ranks `model` may lie on the meta device.
        """
        if not self.whole_rows:
            attend_across(model.get_decoder(), self.grid["context"], self.sharing["tensor"])
        grid = self.sharing["replicate", "states"]
        states, kept = self.mesh.states, self.mesh.parameter_shard
        after_forward: bool | int = {1: False, states: True}.get(kept, kept)
        bf16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        layers = decoder_layers(model)
        rest = set(model.modules()).difference(*(layer.modules() for layer in layers))
        for layer in layers:
            self._fill(model, list(layer.modules()))
            fully_shard(
                layer,
                mesh=grid,
                reshard_after_forward=after_forward if states > 1 else False,
                **({"mp_policy": bf16} if self._gathers_bf16(layer) else {}),
            )
        self._fill(model, [module for module in model.modules() if module in rest])  # in one order on all ranks
        self.root = fully_shard(Whole(model), mesh=grid, reshard_after_forward=False)
        for module in self._sharded():
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        if self.mesh.tensor > 1:
            sum_over_tensor_ranks(model, self.sharing["tensor"])

    def whole(self, model: nn.Module) -> nn.Module | None:
        """Every rank takes part in the gathering, tensor by tensor; only the first keeps what comes."""
        weights, kept = {}, model.state_dict().keys()
        buffers = [(name, buffer) for name, buffer in model.named_buffers() if name in kept]
        for name, parameter in (*model.named_parameters(), *buffers):
            tensor = parameter.detach().full_tensor() if isinstance(parameter, DTensor) else parameter.detach()
            if self.rank == 0:
                weights[name] = tensor.cpu()
        if self.rank != 0:
            return None
        config = copy.deepcopy(model.config)
        config._attn_implementation = None  # whichever is the network's own
        with torch.device("meta"):
            plain = type(model)(config)
        plain.load_state_dict(weights, strict=not config.tie_word_embeddings, assign=True)
        plain.tie_weights()
        return plain

    def share(self, micro_batches: Sequence[Batch]) -> list[Batch]:
        """Rows of the step's micro-batches in turn to the data-parallel ranks, then this rank's stretch of each.

        Every rank has as many, if need be without labels: in validation, and where the batch grows.
        """
        rows, data = Rows.of(micro_batches), self.mesh.data
        place = self.grid.get_coordinate()
        first, each = place[0] * self.mesh.shard + place[1], -(-rows.count // data)
        mine = range(first, each * data, data)
        size = min(rows.size, each)
        return [self._own(rows.padded(mine[start : start + size])) for start in range(0, each, size)]

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Through the root, whose hooks gather what is sharded; without a backward pass nothing else lets it go."""
        result = self.root(function, *arguments[1:])
        if not torch.is_grad_enabled():
            for module in self._sharded():
                module.reshard()
        return result

    def by_the_first(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """In one broadcast of the result."""
        return by_the_first(function, *arguments)

    def accumulating(self, last: bool) -> None:
        """Whole weights stay and gradients add up on their rank until the last micro-batch; sharded ones scatter."""
        whole = self.mesh.parameter_shard == 1
        self.root.set_requires_gradient_sync(last or not whole)
        self.root.set_requires_all_reduce(last)
        self.root.set_reshard_after_backward(last or not whole)
        self.root.set_is_last_backward(last)

    def total(self, values: Sequence[float]) -> list[float]:
        """In one all-reduce, in double precision."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def gathered(self, values: Sequence[float]) -> list[list[float]]:
        """In one all-gather, in double precision."""
        mine = torch.tensor(values, dtype=torch.float64, device=self.device)
        found = [torch.empty_like(mine) for _ in range(self.ranks)]
        dist.all_gather(found, mine)
        return [row.tolist() for row in found]

    def meet(self) -> None:
        """By a sum of nothing."""
        self.total([0.0])

    def clip(self, parameters: Iterable[Tensor], limit: float) -> float:
        """The norm of the whole gradient from every rank's parts of it; what is held by several counts once."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        parts = [local(gradient) for gradient in gradients]
        holders = [self.mesh.replicate * _copies(gradient, self.mesh) for gradient in gradients]
        norms = torch.stack(torch._foreach_norm(parts, 2, dtype=torch.float64))
        square = (norms.square() / torch.tensor(holders, device=norms.device)).sum()
        dist.all_reduce(square)
        norm = square.sqrt().item()  # the one wait for the device
        torch._foreach_mul_(parts, min(1.0, limit / (norm + 1e-6)))
        return norm

    def _fill(self, model: nn.Module, modules: Sequence[nn.Module]) -> None:
        receive(modules, self.device)
        if self.mesh.tensor > 1:
            split_matrices(model, self.sharing["tensor"], set(modules))

    def _gathers_bf16(self, layer: nn.Module) -> bool:
        """Not where a CPU's LayerNorm would have to multiply numbers in fp32 by weights in bf16, which it does not."""
        refuses = self.device.type == "cpu" and any(isinstance(module, nn.LayerNorm) for module in layer.modules())
        return self.bf16 and not refuses

    def _sharded(self) -> list[FSDPModule]:
        return [module for module in self.root.modules() if isinstance(module, FSDPModule)]

    def _own(self, batch: Batch) -> Batch:
        """This rank's stretch of the rows; the others' are let go."""
        if self.whole_rows:
            return batch
        place, length = self.grid.get_coordinate(), batch.input_ids.shape[1]
        parts = self.mesh.context * self.mesh.tensor
        part = place[2] * self.mesh.tensor + place[3]
        stretch = slice(part * length // parts, (part + 1) * length // parts)
        return Batch(*(tensor[:, stretch].clone() for tensor in batch))


class Whole(nn.Module):
    """The root of the sharded modules: whatever is called through it finds the parameters that it needs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.model, *arguments)


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The blocks between embedding and head, whatever the network calls them.

    Of its lists of blocks, all of one class or all made for activation checkpointing, that with the most parameters.

    Raises:
        ValueError: it has none.
    """
    lists = [module for module in model.get_decoder().modules() if isinstance(module, nn.ModuleList)]
    alike = [found for found in lists if _alike(found)]
    if not alike:
        raise ValueError(f"{type(model).__name__} has no list of decoder layers")
    return max(alike, key=lambda found: sum(parameter.numel() for parameter in found.parameters()))


def _alike(blocks: nn.ModuleList) -> bool:
    recomputable = len(blocks) > 0 and all(isinstance(block, GradientCheckpointingLayer) for block in blocks)
    return recomputable or len({type(block) for block in blocks}) == 1


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _copies(gradient: Tensor, mesh: Mesh) -> int:
    """Tensor-parallel ranks that hold the same values."""
    split = isinstance(gradient, DTensor) and "tensor" in (gradient.device_mesh.mesh_dim_names or ())
    return 1 if split else mesh.tensor
