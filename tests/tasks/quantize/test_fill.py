"""The filled graph computes what the model computes with the rounded weights, for every architecture."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from models.engine import OnnxSession, rotation
from models.language_model import LanguageModel
from models.lm import load
from models.quantization import Format, cache_scales, linear_modules, moments, round_to_nearest
from tasks.quantize.draw import draw
from tasks.quantize.fill import fill
from tasks.quantize.rounding import Recipe, Rounding
from tests import architectures

TOKENS = np.arange(8, 56)[None]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "llama" else []) for n in architectures.NAMES]
)
def test_the_graph_computes_with_the_rounded_matrices(name):
    model = load(architectures.hf_model(name))
    for module in linear_modules(model).values():
        module.weight.data = round_to_nearest(module.weight.data, Format(4, 32)).dequantized()
    table = model.get_input_embeddings().weight
    tied = model.config.tie_word_embeddings
    table.data = model.lm_head.weight.data if tied else round_to_nearest(table.data, Format(8, 32)).dequantized()
    with torch.inference_mode():
        expected = model(torch.from_numpy(TOKENS)).logits.numpy()
    graph = OnnxSession(architectures.quantized(name), slots=1, length=64)
    # Activations are rounded to 8 bits in the graph: a hundredth of what logits vary by.
    assert np.abs(graph.forward(TOKENS, np.zeros(1, np.int64)) - expected).mean() < 0.03 * expected.std()


def test_keys_and_values_in_int8_change_little_and_nothing_depends_on_batch_or_chunks(tmp_path):
    model = load(architectures.hf_model("llama"))
    graph = architectures.quantized("llama")
    matrices = Rounding(model, dict.fromkeys(linear_modules(model)), 32).matrices(Recipe("rtn", 4))
    fill(graph.parent / "drawn", tmp_path, matrices, {}, {}, cache_scales(model, torch.from_numpy(TOKENS)))
    plain, int8 = (LanguageModel.load(folder, slots=3, length=64).session for folder in (graph, tmp_path))
    assert int8.cache.position_bytes * 4 == plain.cache.position_bytes
    start = np.zeros(1, np.int64)
    expected, whole = (session.forward(TOKENS, start).copy() for session in (plain, int8))
    assert np.abs(whole - expected).mean() < 0.05 * expected.std()
    int8.forward(TOKENS[:, :20], start, 1)
    int8.forward(TOKENS[:, 20:], start + 20, 1)
    together = int8.forward(np.array([[9], [9]]), np.array([48, 48]), 0).copy()
    assert np.array_equal(together[0], together[1])


@pytest.mark.parametrize("turned", [True, False])
def test_a_few_strong_inputs_cost_int8_products_less_once_their_strengths_are_known(tmp_path, monkeypatch, turned):
    if not turned:  # as where the residual stream cannot be
        monkeypatch.setattr(rotation, "stream", lambda _graph: None)
    model = load(architectures.hf_model("llama"))
    with torch.no_grad():
        for layer in model.model.layers:  # the same function: what makes an input is 40 times it, its readers undo it
            for norm, readers in (
                (layer.input_layernorm, (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)),
                (layer.post_attention_layernorm, (layer.mlp.gate_proj, layer.mlp.up_proj)),
            ):
                norm.weight[5] *= 40
                for reader in readers:
                    reader.weight[:, 5] /= 40
            layer.mlp.up_proj.weight[7] *= 40
            layer.mlp.down_proj.weight[:, 7] /= 40
    source, drawn = tmp_path / "source", tmp_path / "drawn"
    model.save_pretrained(source)
    AutoTokenizer.from_pretrained(architectures.hf_model("llama")).save_pretrained(source)
    draw(source, drawn)
    rounding = Rounding(model, moments(model, torch.from_numpy(TOKENS)), 32)
    recipe = Recipe("rtn", 8)
    with torch.inference_mode():
        expected = model(torch.from_numpy(TOKENS)).logits.numpy()
    errors = []
    for name, strengths in (("unknown", {}), ("known", rounding.strengths(recipe))):
        fill(drawn, tmp_path / name, rounding.matrices(recipe), {}, strengths)
        session = OnnxSession(tmp_path / name, 1, 64, products="int8")
        errors.append(np.abs(session.forward(TOKENS, np.zeros(1, np.int64)) - expected).mean())
    assert errors[1] < 0.6 * errors[0]
