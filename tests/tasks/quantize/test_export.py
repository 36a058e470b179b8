"""Exported models hold, weight for weight, what the graph holds."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.errors import StageError
from tasks.quantize.export import export
from tasks.quantize.export.graph import read_weights
from tests import architectures, tiny

SLOW = [pytest.param(n, marks=[pytest.mark.slow] if n != "llama" else []) for n in architectures.NAMES]
LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e5}
DOWN = "model.layers.0.mlp.down_proj"


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


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A package with one matrix in 8 bits."""
    return tiny.quantized(architectures.hf_model("llama"), tmp_path_factory.mktemp("mixed"), finer=((DOWN,),))


@pytest.mark.parametrize("to", ["compressed-tensors", "lmdeploy"])
@pytest.mark.parametrize("name", SLOW)
def test_compressed_tensors_hold_the_graphs_weights(name, to, tmp_path):
    package = architectures.quantized(name)
    export(package, to, tmp_path)
    _assert_same(tmp_path, package)


def test_eight_bits_stay_packed_for_vllm_and_become_fp16_for_lmdeploy(mixed, tmp_path):
    export(mixed, "compressed-tensors", tmp_path / "vllm")
    both = _assert_same(tmp_path / "vllm", mixed)
    assert [group["weights"]["num_bits"] for group in both["config_groups"].values()] == [4, 8]
    assert both["config_groups"]["group_1"]["targets"] == [DOWN]
    notes = export(mixed, "lmdeploy", tmp_path / "lmdeploy")
    one = _assert_same(tmp_path / "lmdeploy", mixed)
    assert list(one["config_groups"]) == ["group_0"] and DOWN in one["ignore"]
    assert any("1 matrices of 8 bits are fp16" in note for note in notes)
    # What lmdeploy 0.16 asserts of the first group (turbomind/converter.py).
    group = one["config_groups"]["group_0"]
    assert group["format"] == "pack-quantized" and group["weights"]["num_bits"] == 4
    assert group["weights"]["group_size"] in (32, 128)


@pytest.mark.parametrize(("block", "refused"), [(16, {"compressed-tensors", "lmdeploy"}), (64, {"lmdeploy"})])
def test_groups_that_an_engine_cannot_read_are_refused(block, refused, tmp_path):
    package = tiny.quantized(tiny.hf_model(), tmp_path, block=block)
    for to in ("compressed-tensors", "lmdeploy"):
        if to in refused:
            with pytest.raises(StageError, match=f"groups of {block}; .* reads whole groups of 32"):
                export(package, to, tmp_path / to)
        else:
            export(package, to, tmp_path / to)


@pytest.mark.parametrize("name", ["internlm3", "llama"])
def test_the_config_is_read_by_engines_on_transformers_4(name, tmp_path):
    export(architectures.quantized(name), "compressed-tensors", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "llama" and config["architectures"] == ["LlamaForCausalLM"]
    assert config["torch_dtype"] == config["dtype"] == "float16"
    original = json.loads((architectures.hf_model(name) / "config.json").read_text())["rope_parameters"]
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == original["rope_theta"]
    assert config["rope_scaling"] is None
    facts = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert facts["tokenizer_class"] == "PreTrainedTokenizerFast" and facts["eos_token"] == "<|im_end|>"


@pytest.mark.parametrize("said", [{}, {"type": "linear"}, {"type": "linear", "rope_type": None}])  # the last: as of old
def test_scaled_rotations_are_told_both_ways(said, tmp_path):
    package = _with(architectures.quantized("llama"), tmp_path / "package", rope_parameters=LINEAR | said)
    export(package, "compressed-tensors", tmp_path / "new")
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0} and config["rope_theta"] == 1e5
    assert config["rope_parameters"] == LINEAR


def _with(package, folder, **changes):
    """A copy of a package whose config says something else."""
    shutil.copytree(package, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _assert_same(folder, package):
    """All weights are the graph's; its quantization config."""
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    scheme = {target: group["weights"] for group in groups for target in group["targets"]}
    assert not set(scheme) & set(config["quantization_config"]["ignore"])
    for parameter, expected in _weights(package).items():
        module = parameter.removesuffix(".weight")
        if module in scheme:
            assert torch.equal(_unpacked(tensors, module, **scheme[module]), expected), module
        elif parameter in tensors:
            assert torch.allclose(tensors[parameter].float(), expected, rtol=2**-10, atol=2**-20), parameter
        else:
            assert parameter == "lm_head.weight", parameter
            assert config["tie_word_embeddings"]
    return config["quantization_config"]


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
