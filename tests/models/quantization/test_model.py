"""On a whole model: what its matrices see, rescaling that changes nothing, and what a unit's rounding costs."""

import pytest
import torch

from models.lm import load
from models.quantization import (
    Format,
    cache_scales,
    divergences,
    linear_modules,
    moments,
    output_error,
    rescaled,
    round_to_nearest,
    units,
)  # fmt: skip
from tests import architectures

WINDOWS = torch.arange(8, 8 + 4 * 32).reshape(4, 32)
NAMES = ("llama", "qwen2", "qwen3")


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return load(architectures.hf_model(request.param)).eval()


def test_moments_are_those_of_the_inputs(model):
    inputs = []
    name = "model.layers.1.mlp.down_proj"
    hook = linear_modules(model)[name].register_forward_pre_hook(lambda _m, args: inputs.append(args[0].float()))
    found = moments(model, WINDOWS, rows=2)
    hook.remove()
    seen = torch.cat(inputs).flatten(0, 1)
    assert torch.allclose(found[name], seen.t() @ seen, rtol=1e-4, atol=1e-4)


def test_matrices_of_one_input_are_one_unit(model):
    found = units(moments(model, WINDOWS))
    layer = "model.layers.0."
    assert tuple(f"{layer}self_attn.{kind}_proj" for kind in "qkv") in found
    assert (f"{layer}mlp.gate_proj", f"{layer}mlp.up_proj") in found
    assert ("lm_head",) in found
    assert sorted(name for unit in found for name in unit) == sorted(linear_modules(model))


@torch.inference_mode()
def test_rescaling_changes_no_prediction_and_spares_output(model):
    expected, found = model(WINDOWS).logits, moments(model, WINDOWS)
    form = Format(4, 32)
    numbers = rescaled(model, found, form)
    before = {name: module.weight.data for name, module in linear_modules(model).items()}
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        plain = output_error(before[name], round_to_nearest(before[name], form).dequantized(), found[name])
        ours = round_to_nearest(numbers.matrices[name], form).dequantized()
        assert output_error(numbers.matrices[name], ours, numbers.moments[name]) <= 1.2 * plain
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict({f"{n}.weight": m for n, m in numbers.matrices.items()} | numbers.vectors, strict=False)
    assert torch.allclose(model(WINDOWS).logits, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    model.load_state_dict(kept)


def test_a_unit_left_alone_costs_nothing_and_a_rounded_one_its_divergence(model):
    matrices = {name: module.weight.data for name, module in linear_modules(model).items()}
    unit = ("model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj")
    with torch.inference_mode():
        before = model(WINDOWS).logits.log_softmax(-1)
    assert divergences(model, WINDOWS, [unit], matrices) == [pytest.approx(0, abs=1e-6)]
    rounded = {name: round_to_nearest(weight, Format(4, 32)).dequantized() for name, weight in matrices.items()}
    [found] = divergences(model, WINDOWS, [unit], rounded)
    with torch.inference_mode():
        for name in unit:
            linear_modules(model)[name].weight.data = rounded[name]
        after = model(WINDOWS).logits.log_softmax(-1)
        for name in unit:
            linear_modules(model)[name].weight.data = matrices[name]
    assert found == pytest.approx(float((before.exp() * (before - after)).sum(-1).mean()), rel=1e-2)


@torch.inference_mode()
def test_cache_scales_cover_keys_at_every_position(model):
    scales = cache_scales(model, WINDOWS)
    shifted = torch.arange(32)[None] + 100
    layers = model(WINDOWS, position_ids=shifted.expand(4, -1), use_cache=True).past_key_values.layers
    for (key_scale, value_scale), layer in zip(scales, layers, strict=True):
        assert (layer.keys.abs().amax((0, 2)).flatten() <= 1.05 * 127 * key_scale).all()
        assert (layer.values.abs().amax((0, 2)).flatten() <= 1.05 * 127 * value_scale).all()
