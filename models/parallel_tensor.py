"""Tensor and sequence parallelism from the plan that the model's own configuration carries."""

from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

SEQUENCE = 1  # the dimension of hidden states [B, T, H] that ranks split between blocks


def split_matrices(model: nn.Module, mesh: DeviceMesh, modules: Collection[nn.Module]) -> None:
    """Column- and row-parallel matrices as `base_model_tp_plan` says, those among `modules`.

    Blocks gather inputs and scatter outputs.

    Raises:
        ValueError: the model has no plan, or one with a style that is not known here.
    """
    styles: dict[str, ParallelStyle] = {}
    for name, style in matrix_styles(model).items():
        if model.base_model.get_submodule(name) in modules:
            styles[name] = style
            styles[name.rpartition(".")[0]] = _gathered()
    if styles:
        parallelize_module(model.base_model, mesh, styles)


def matrix_styles(model: nn.Module) -> dict[str, ParallelStyle]:
    """How each matrix of the base model is split, by its name there.

    Raises:
        ValueError: the model has no plan, or one with a style that is not known here.
    """
    plan = getattr(model.config, "base_model_tp_plan", None)
    if not plan:
        raise ValueError(f"tensor: {type(model).__name__} has no tensor-parallel plan; expected tensor = 1 for it")
    return {name: _style(name, style) for name, style in _planned(model.base_model, plan)}


def sum_over_tensor_ranks(model: nn.Module, mesh: DeviceMesh) -> None:
    """Let gradients of what tensor ranks hold whole (embedding, norms, head) be sums over the ranks' stretches."""
    split = {f"{model.base_model_prefix}.{name}" for name in matrix_styles(model)}
    summing = _summing(mesh.get_group())
    for name, module in model.named_modules():
        if name not in split and any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(summing)
    # The loss takes the head's matrix without calling the head; the root has gathered it when the decoder runs.
    model.base_model.register_forward_pre_hook(lambda *_: summing(model.get_output_embeddings(), None))


def _planned(base: nn.Module, plan: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, module in base.named_modules():
        style = next((style for pattern, style in plan.items() if fnmatchcase(name, pattern)), None)
        if style and isinstance(module, nn.Linear):
            yield name, style


def _style(name: str, style: str) -> ParallelStyle:
    if style == "colwise":
        return ColwiseParallel()
    if style == "rowwise":
        return RowwiseParallel(output_layouts=Shard(SEQUENCE))
    raise ValueError(
        f"tensor: the model's plan wants {style!r} for {name}; expected colwise or rowwise; set tensor = 1"
    )


def _gathered() -> PrepareModuleInput:
    """Of a block, attention or MLP: its hidden states come as stretches and are gathered once for all its matrices.

    They stay a DTensor, so that the matrices' gradients by them are added before one scatter, not reduced one by one.
    """
    whole, part = Replicate(), Shard(SEQUENCE)
    return _HiddenStates(part, whole)


class _HiddenStates(PrepareModuleInput):
    """transformers passes hidden states by name to attention and by place to the MLP."""

    def __init__(self, given: Shard, wanted: Replicate) -> None:
        super().__init__(
            input_layouts=(given,), desired_input_layouts=(wanted,), use_local_output=False,
            input_kwarg_layouts={"hidden_states": given}, desired_input_kwarg_layouts={"hidden_states": wanted},
        )  # fmt: skip

    def _prepare_input_fn(self, inputs: Any, device_mesh: DeviceMesh) -> Any:
        return super()._prepare_input_fn(inputs, device_mesh) if inputs else inputs


def _summing(group: dist.ProcessGroup) -> Callable[[nn.Module, Any], None]:
    """A hook that gives every weight, once, a sum over the group on its gradient's way back.

    It runs before each forward because FSDP shows the modules other tensors than it keeps.
    """

    def before_forward(module: nn.Module, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and not hasattr(parameter, "summed_over_tensor"):
                parameter.summed_over_tensor = True
                parameter.register_hook(lambda gradient: _summed(gradient, group))

    return before_forward


def _summed(gradient: Tensor, group: dist.ProcessGroup) -> Tensor:
    total = gradient.contiguous()
    dist.all_reduce(total, group=group)
    return total
