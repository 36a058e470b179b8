"""The residual stream turned: the same results, of which bytes lose less."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from transformers import AutoTokenizer

from models.engine import OnnxSession, rotation
from models.lm import load
from models.quantization import linear_modules
from tasks.quantize.draw import draw
from tasks.quantize.fill import fill
from tasks.quantize.rounding import Recipe, Rounding
from tests import architectures

TOKENS = np.arange(8, 56)[None]
START = np.zeros(1, np.int64)


@given(st.integers(1, 200))
def test_turning_is_orthogonal_spreads_every_channel_over_all_and_can_be_undone(width):
    basis = rotation.turned(np.eye(width, dtype=np.float32))
    assert np.allclose(basis @ basis.T, np.eye(width), atol=1e-5)
    assert np.abs(basis).max() <= np.sqrt(2 / width) * (1 + 1e-5)
    assert np.allclose(rotation.straight(basis), np.eye(width), atol=1e-5)


@pytest.fixture(scope="module", params=[32, 128], ids=["whole blocks", "the table is wider, and cut"])
def outlier(request, tmp_path_factory):
    """A model and its graph in 8 bits; one channel behind its norms is far stronger than all others."""
    folder = tmp_path_factory.mktemp("outlier")
    model = load(architectures.hf_model("llama"))
    with torch.no_grad():
        for layer in model.model.layers:  # the same function: a norm makes the channel strong, its readers undo it
            layer.input_layernorm.weight[5] *= 40
            layer.post_attention_layernorm.weight[5] *= 40
            attention, mlp = layer.self_attn, layer.mlp
            for reader in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
                reader.weight[:, 5] /= 40
    model.save_pretrained(folder / "source")
    AutoTokenizer.from_pretrained(architectures.hf_model("llama")).save_pretrained(folder / "source")
    draw(folder / "source", folder / "drawn")
    rounding = Rounding(model, dict.fromkeys(linear_modules(model)), request.param)
    fill(folder / "drawn", folder / "graph", rounding.matrices(Recipe("rtn", 8)), {}, {})
    return model, folder / "graph"


def test_a_strong_channel_costs_int8_products_less_and_hidden_states_come_out_as_they_were(outlier, monkeypatch):
    model, graph = outlier
    with torch.inference_mode():
        hidden = model.get_decoder()(torch.from_numpy(TOKENS)).last_hidden_state
        logits, summed = model.lm_head(hidden).numpy(), hidden.sum(1)[0].numpy()

    def errors() -> np.ndarray:
        session = OnnxSession(graph, 1, 64, products="int8")
        found = session.forward(TOKENS, START)
        return np.array([np.abs(found - logits).mean(), np.abs(session.summed - summed).mean()])

    turned = errors()
    monkeypatch.setattr(rotation, "stream", lambda _graph: None)
    assert (turned < 0.5 * errors()).all()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "qwen2" else []) for n in architectures.NAMES]
)
def test_every_architecture_computes_the_same_turned(name, monkeypatch):
    def told(**products) -> tuple[np.ndarray, np.ndarray]:
        session = OnnxSession(architectures.quantized(name), 1, 64, **products)
        return session.forward(TOKENS, START).copy(), session.summed

    expected, turned = told(), told(products="int8")
    monkeypatch.setattr(rotation, "stream", lambda _graph: None)
    plain = told(products="int8")
    for blockwise, mine, theirs in zip(expected, turned, plain, strict=True):
        spread = blockwise.std()
        assert 0 < np.abs(mine - theirs).mean() < 0.1 * spread
        assert np.abs(mine - blockwise).mean() < 0.1 * spread


def _graph():
    return onnx.load(str(architectures.quantized("llama") / "model.onnx"), load_external_data=False).graph


def test_a_stream_is_found_from_the_token_table_to_the_last_norm():
    stream, graph = rotation.stream(_graph()), _graph()
    assert len(stream.written) == 2 * sum(node.op_type == "GroupQueryAttention" for node in graph.node)
    assert len(stream.normed) == len(stream.written) + 1


def test_a_stream_that_is_told_to_others_is_left_as_it_is():
    graph, stream = _graph(), rotation.stream(_graph())
    graph.output.append(helper.make_tensor_value_info(sorted(stream.normed)[0], onnx.TensorProto.FLOAT, None))
    assert rotation.stream(graph) is None


@pytest.mark.parametrize("kind", ["tokens", "written", "normed"])
def test_a_stream_that_something_else_reads_is_left_as_it_is(kind):
    graph, stream = _graph(), rotation.stream(_graph())
    name = stream.tokens if kind == "tokens" else sorted(getattr(stream, kind))[0]
    graph.node.append(helper.make_node("Sigmoid", [name], ["looked"]))
    assert rotation.stream(graph) is None


def test_a_stream_that_something_else_writes_is_left_as_it_is():
    graph, stream = _graph(), rotation.stream(_graph())
    name = sorted(stream.written)[0]
    maker = next(node for node in graph.node if node.output[0] == name)
    maker.output[0] = name + ".unbiased"
    graph.node.append(helper.make_node("Add", [maker.output[0], "bias"], [name]))
    assert rotation.stream(graph) is None


def test_a_norm_with_a_bias_and_a_table_with_zero_points_leave_the_stream_as_it_is():
    biased, uneven = _graph(), _graph()
    next(node for node in biased.node if node.op_type == "SkipSimplifiedLayerNormalization").input.append("bias")
    next(node for node in uneven.node if node.op_type == "GatherBlockQuantized").input.append("zeros")
    assert rotation.stream(biased) is None and rotation.stream(uneven) is None
