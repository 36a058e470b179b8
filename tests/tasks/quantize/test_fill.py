"""The filled graph computes what the model computes with the rounded weights, for every architecture."""

import numpy as np
import pytest
import torch

from models.language_model import LanguageModel
from models.lm import load
from models.quantization import Format, linear_modules, round_to_nearest
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
