"""The filled graph computes what the model computes with the rounded weights, for every architecture."""

import numpy as np
import pytest
import torch

from models.language_model import LanguageModel
from models.lm import load
from models.quantization import Format, cache_scales, linear_modules, round_to_nearest
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
    graph = LanguageModel.load(architectures.quantized(name), slots=1, length=64)
    # Activations are rounded to 8 bits in the graph: a hundredth of what logits vary by.
    assert np.abs(graph.logits(TOKENS) - expected).mean() < 0.03 * expected.std()


def test_keys_and_values_in_int8_change_little_and_nothing_depends_on_batch_or_chunks(tmp_path):
    model = load(architectures.hf_model("llama"))
    graph = architectures.quantized("llama")
    matrices = Rounding(model, dict.fromkeys(linear_modules(model)), 32).matrices(Recipe("rtn", 4))
    fill(graph.parent / "drawn", tmp_path, matrices, {}, cache_scales(model, torch.from_numpy(TOKENS)))
    plain, int8 = (LanguageModel.load(folder, slots=3, length=64).session for folder in (graph, tmp_path))
    assert int8.cache.position_bytes * 4 == plain.cache.position_bytes
    start = np.zeros(1, np.int64)
    expected, whole = (session.forward(TOKENS, start).copy() for session in (plain, int8))
    assert np.abs(whole - expected).mean() < 0.05 * expected.std()
    int8.forward(TOKENS[:, :20], start, 1)
    int8.forward(TOKENS[:, 20:], start + 20, 1)
    together = int8.forward(np.array([[9], [9]]), np.array([48, 48]), 0).copy()
    assert np.array_equal(together[0], together[1])
