"""Activation-aware scaling: strong inputs get finer steps, paid for by the matrix before (AWQ, Lin et al. 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.quantization.blocks import Format, round_to_nearest
from models.quantization.calibration import Moments, linear_modules
from models.quantization.error import output_error

POWERS = tuple(step / 10 for step in range(1, 10))  # of an input's strength, tried as its scale; 0 is no scaling

# In a decoder layer of the Llama kind: what makes an input -> the matrices that read it.
PRODUCERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.v_proj": ("self_attn.o_proj",),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.up_proj": ("mlp.down_proj",),
}


@dataclass(frozen=True)
class Rescaled:
    """The same function in other numbers: matrices by module, changed other parameters by name, moments to match.

    `inputs` [K] and `outputs` [N]: what the columns of a module's matrix were multiplied by, and its rows divided by.
    """

    matrices: dict[str, Tensor]
    vectors: dict[str, Tensor]
    moments: Moments
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


def original(model: nn.Module, moments: Moments) -> Rescaled:
    """The model as it is."""
    return Rescaled({name: module.weight.data for name, module in linear_modules(model).items()}, {}, moments)


def rescaled(model: nn.Module, moments: Moments, form: Format) -> Rescaled:
    """Each input scaled by the power of its strength that costs the least output error once rounded to `form`."""
    plain = original(model, moments)
    parameters = dict(model.named_parameters())
    out = Rescaled(dict(plain.matrices), {}, dict(moments))
    for layer in sorted({name.partition(".layers.")[2].partition(".")[0] for name in moments if ".layers." in name}):
        prefix = f"model.layers.{layer}."
        for producer, readers in PRODUCERS.items():
            names = [prefix + reader for reader in readers]
            if not all(name in moments for name in names):
                continue
            maker = parameters.get(f"{prefix}{producer}.weight")
            if maker is None or len(maker) != len(moments[names[0]]) or f"{prefix}{producer}.bias" in parameters:
                continue  # grouped values serve several heads: no scale of theirs fits all
            scale = _search([out.matrices[name] for name in names], moments[names[0]], form)
            _apply(out, prefix + producer, parameters, scale, names)
    return out


def _search(weights: Sequence[Tensor], moment: Tensor, form: Format) -> Tensor:
    """The scale [K] of least output error of the matrices [N, K] that share an input, among powers of its strength."""
    weight = torch.cat(list(weights))
    strength = moment.diagonal().clamp_min(0).sqrt().clamp_min(1e-8)
    best, least = torch.ones_like(strength), torch.inf
    for power in (0.0, *POWERS):
        scale = strength**power
        scale = scale / (scale.max() * scale.min()).sqrt()
        rounded = round_to_nearest(weight * scale, form).dequantized() / scale
        if (error := output_error(weight, rounded, moment)) < least:
            best, least = scale, error
    return best


def _apply(
    out: Rescaled, producer: str, parameters: Mapping[str, Tensor], scale: Tensor, readers: Sequence[str]
) -> None:
    """Multiply the readers' inputs by `scale` [K], and divide what produces them."""
    if producer in out.matrices:
        out.matrices[producer] = out.matrices[producer] / scale[:, None]
        out.outputs[producer] = scale
    else:
        out.vectors[f"{producer}.weight"] = parameters[f"{producer}.weight"].data / scale
    moment = out.moments[readers[0]] / scale / scale[:, None]
    for reader in readers:
        out.matrices[reader] = out.matrices[reader] * scale
        out.inputs[reader] = scale
        out.moments[reader] = moment
