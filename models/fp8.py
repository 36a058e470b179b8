"""Matrix products in 8 bits: the hidden layers' linear modules, forward in e4m3, gradients in e5m2.

Each tensor is scaled by its present largest value onto the type's range (Micikevicius et al. 2022, FP8 Formats for Deep
Learning, sections 3 and 4), multiplied by torch's scaled product, and the result is scaled back. Master weights, norms,
attention, embedding, head and loss stay as they are. Run on CPUs so far, whose scaled product is a slow reference.
Letters: N tokens, I inputs, O outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2
CAPABILITY = (8, 9)
"""Ada and Hopper: the first with 8-bit floats in their tensor cores."""

MULTIPLE = 16
"""Every side of a product must be a multiple (cuBLAS, cublasLtMatmul, 8-bit data)."""

TINY = 1e-12
"""The smallest largest value that is scaled by, so that zeros stay zeros."""


def missing(device: torch.device) -> str:
    """Why `device` cannot train in 8 bits; nothing when it can."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    found = torch.cuda.get_device_capability(device)
    return "" if found >= CAPABILITY else f"this one's is {found[0]}.{found[1]}"


def use_float8(model: nn.Module) -> int:
    """Let the linear modules of the decoder's layers multiply in 8 bits, in place; how many do.

    Their parameters and names stay; those with a side that 16 does not divide stay as they are.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    owners = [(owner, name) for layer in layers for owner in layer.modules() for name in owner._modules]
    chosen = [(owner, name) for owner, name in owners if _fits(owner._modules[name])]
    for owner, name in chosen:
        setattr(owner, name, Float8Linear(getattr(owner, name)))
    return len(chosen)


def _fits(module: nn.Module | None) -> bool:
    return type(module) is nn.Linear and module.in_features % MULTIPLE == 0 and module.out_features % MULTIPLE == 0


class Float8Linear(nn.Linear):
    """A linear module with another's parameters."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., I] -> [..., O], in autocast's type where there is one."""
        device = inputs.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
        rows = inputs.flatten(0, -2).to(kind)
        lacking = -len(rows) % MULTIPLE
        product = Float8Product.apply(F.pad(rows, (0, 0, 0, lacking)) if lacking else rows, self.weight.to(kind))
        outputs = product[: len(rows)].unflatten(0, inputs.shape[:-1])
        return outputs if self.bias is None else outputs + self.bias.to(kind)


class Float8Product(torch.autograd.Function):
    """inputs [N, I] times weight [O, I] transposed, [N, O]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        """Keeps both as they were given; they are rounded anew for the layouts that the gradients need."""
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight, FORWARD, FORWARD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """dx = g w, dw = gᵀ x."""
        inputs, weight = ctx.saved_tensors
        given = gradients[0]
        by_inputs, by_weight = ctx.needs_input_grad
        return (
            product(given, weight.T, BACKWARD, FORWARD) if by_inputs else None,
            product(given.T, inputs.T, BACKWARD, FORWARD) if by_weight else None,
        )


def product(left: Tensor, right: Tensor, left_kind: torch.dtype, right_kind: torch.dtype) -> Tensor:
    """left [a, b] times right [c, b] transposed, rounded to 8 bits, added up in fp32; in the left one's type."""
    (a, a_scale), (b, b_scale) = scaled(left, left_kind), scaled(right, right_kind)
    return torch._scaled_mm(a, b.T, scale_a=a_scale, scale_b=b_scale, out_dtype=left.dtype)


def scaled(tensor: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values in `kind`, rows contiguous, and the fp32 scalar that brings them back; a NaN makes all NaN."""
    limit = torch.finfo(kind).max
    scale = limit / tensor.abs().amax().float().clamp(min=TINY)
    return (tensor.float() * scale).clamp(-limit, limit).to(kind).contiguous(), scale.reciprocal()
