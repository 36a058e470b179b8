"""What a recipe makes of a model's matrices."""

import torch

from models.lm import load
from models.quantization import moments, output_error
from tasks.quantize.rounding import Recipe, Rounding
from tests import architectures


def test_what_stays_in_8_bits_is_rounded_by_the_recipes_method_too():
    model, tokens = load(architectures.hf_model("llama")), torch.randint(8, 500, (8, 64))
    rounding, unit = Rounding(model, moments(model, tokens), 32), ("model.layers.1.mlp.down_proj",)
    weight, moment = model.model.layers[1].mlp.down_proj.weight.data, rounding.moments[unit[0]]
    made = {method: rounding.matrices(Recipe(method, 4, (unit,)))[unit[0]] for method in ("rtn", "gptq")}
    assert {matrix.format.bits for matrix in made.values()} == {8}
    assert torch.equal(rounding.matrices(Recipe("gptq", 8))[unit[0]].dequantized(), made["gptq"].dequantized())
    errors = {method: output_error(weight, matrix.dequantized(), moment) for method, matrix in made.items()}
    assert errors["gptq"] < 0.8 * errors["rtn"]


def test_scales_are_looked_for_with_the_bits_that_matrices_get():
    model, tokens = load(architectures.hf_model("llama")), torch.randint(8, 500, (8, 64))
    rounding = Rounding(model, moments(model, tokens), 32)
    in_8 = rounding.rescaling(Recipe("awq", 8))
    in_4 = rounding.rescaling(Recipe("awq", 4))
    assert in_8.keys() == in_4.keys() and any(not torch.equal(in_8[name], in_4[name]) for name in in_8)
    assert rounding.rescaling(Recipe("gptq", 4)) == {}
