"""Exported models hold, weight for weight, what the graph holds."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.errors import StageError
from tasks.quantize.export import export
from tasks.quantize.export.graph import read_weights
from tests import architectures

SLOW = [pytest.param(n, marks=[pytest.mark.slow] if n != "llama" else []) for n in architectures.NAMES]


def _weights(package):
    """Every matrix of the graph by the name of its parameter."""
    weights = read_weights(package)
    found = {f"{name}.weight": matrix.dequantized() for name, matrix in weights.matrices.items()}
    return found | weights.vectors


@pytest.mark.parametrize("name", SLOW)
def test_transformers_reads_the_graphs_weights_out_of_a_gguf(name, tmp_path):
    from transformers import AutoModelForCausalLM

    package = architectures.quantized(name)
    export(package, "gguf", tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).state_dict()
    for parameter, expected in _weights(package).items():
        assert torch.equal(loaded[parameter], expected), parameter


def test_the_ggufs_tokenizer_and_template_come_along(tmp_path):
    from transformers import AutoTokenizer

    package = architectures.quantized("llama")
    export(package, "gguf", tmp_path)
    ours = AutoTokenizer.from_pretrained(package)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    chat = [{"role": "user", "content": "写一首诗, please"}]
    assert ours.apply_chat_template(chat, tokenize=False) == theirs.apply_chat_template(chat, tokenize=False)
    for text in ("<|im_start|>user\n床前明月光<|im_end|>", "hello world", "<tool_call>{}</tool_call>"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]


@pytest.mark.parametrize("name", SLOW)
def test_compressed_tensors_hold_the_graphs_weights(name, tmp_path):
    package = architectures.quantized(name)
    export(package, "compressed-tensors", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    scheme = {target: group["weights"] for group in groups for target in group["targets"]}
    for parameter, expected in _weights(package).items():
        module = parameter.removesuffix(".weight")
        if module in scheme:
            assert torch.equal(_unpacked(tensors, module, **scheme[module]), expected), module
        elif parameter in tensors:
            assert torch.allclose(tensors[parameter].float(), expected, rtol=2**-10, atol=2**-20), parameter
        else:
            assert parameter == "lm_head.weight", parameter
            assert config["tie_word_embeddings"]


def _unpacked(tensors, module, num_bits, group_size, **_):
    """As the format says: the first weight in the lowest bits, offset by half the range, a scale for each group."""
    rows, columns = tensors[f"{module}.weight_shape"].tolist()
    words = tensors[f"{module}.weight_packed"].numpy().view(np.uint32)
    codes = np.stack([words >> shift & (1 << num_bits) - 1 for shift in range(0, 32, num_bits)], axis=-1)
    values = codes.reshape(rows, -1)[:, :columns].astype(np.float32) - (1 << num_bits - 1)
    scales = tensors[f"{module}.weight_scale"].float().repeat_interleave(group_size, dim=1)[:, :columns]
    return torch.from_numpy(values) * scales


def test_what_cannot_be_exported_is_said(tmp_path):
    package = architectures.quantized("llama")
    with pytest.raises(StageError, match="unknown format 'onnx'"):
        export(package, "onnx", tmp_path / "new")
    with pytest.raises(StageError, match=r"no model\.onnx"):
        export(tmp_path, "gguf", tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(StageError, match="not empty"):
        export(package, "gguf", tmp_path / "full")
