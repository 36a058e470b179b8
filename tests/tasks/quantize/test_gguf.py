"""What a GGUF says of tokenizers and networks of more than one kind."""

import json
import shutil

import numpy as np
import pytest
from gguf import GGUFReader, LlamaFileType

from tasks.errors import StageError
from tasks.quantize.export import export
from tests import tiny

# As the tokenizer.json of Qwen2.5 and Llama 3 have them.
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = QWEN.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _split(pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTES]}


SMOLLM = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]}


@pytest.fixture
def package(tmp_path):
    """A copy of a package, and a way to edit its files."""
    shutil.copytree(tiny.int4_model(), tmp_path / "package")

    def edited(file="config.json", **changes):
        path = tmp_path / "package" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return tmp_path / "package"

    return edited


def _read(package, folder):
    notes = export(package, "gguf", folder)
    return GGUFReader(folder / "model.gguf"), notes


def _value(reader, name):
    field = reader.get_field(name)
    return None if field is None else field.contents()


@pytest.mark.parametrize(
    ("state", "name", "exact"),
    [(_split(QWEN), "qwen2", True), (_split(LLAMA), "llama-bpe", True), (SMOLLM, "smollm", True),
     (_split(r"\w+"), "gpt-2", False)],
)  # fmt: skip
def test_pre_tokenizers_have_the_names_that_llama_cpp_knows(package, tmp_path, state, name, exact):
    reader, notes = _read(package("tokenizer.json", pre_tokenizer=state), tmp_path / "new")
    assert _value(reader, "tokenizer.ggml.pre") == name
    assert not notes if exact else "words may split otherwise" in notes[0]


def test_llama_3_has_two_ends_no_padding_and_begins_every_text(package, tmp_path):
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    package("tokenizer.json", post_processor=template)
    package("config.json", pad_token_id=None)
    reader, _ = _read(package("generation_config.json", eos_token_id=[2, 1], pad_token_id=None), tmp_path / "new")
    ids = [_value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "padding")]
    assert ids == [0, 2, 1, None]
    assert _value(reader, "tokenizer.ggml.add_bos_token") is True


def test_without_a_generation_config_the_models_own_ids_count(package, tmp_path):
    folder = package(bos_token_id=None)
    (folder / "generation_config.json").unlink()
    reader, _ = _read(folder, tmp_path / "new")
    assert [_value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")] == [None, 2]
    with pytest.raises(StageError, match="no eos_token_id"):
        export(package(eos_token_id=None), "gguf", tmp_path / "none")


def test_scaled_rotations_are_written(package, tmp_path):
    linear = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e5}
    reader, _ = _read(package(rope_parameters=linear), tmp_path / "linear")
    assert _value(reader, "llama.rope.scaling.type") == "linear"
    assert _value(reader, "llama.rope.scaling.factor") == 2 and _value(reader, "llama.rope.freq_base") == 1e5
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    llama3 |= {"original_max_position_embeddings": 256, "rope_theta": 5e5}
    folder = package(rope_parameters=llama3)
    reader, _ = _read(folder, tmp_path / "llama3")
    written = next(tensor.data for tensor in reader.tensors if tensor.name == "rope_freqs.weight")
    assert np.allclose(written, _by_transformers(folder), rtol=1e-5)


@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
def test_rotations_as_older_configs_have_them_are_written(package, tmp_path, name):
    yarn = {"type": "yarn", "rope_type": "yarn", "factor": 4.0, "beta_fast": None, "beta_slow": 2.0}
    reader, _ = _read(package(**{"rope_parameters": None, "rope_theta": 1e6, name: yarn}), tmp_path / "new")
    facts = ("type", "factor", "original_context_length", "yarn_beta_fast", "yarn_beta_slow")
    assert [_value(reader, f"llama.rope.scaling.{fact}") for fact in facts] == ["yarn", 4, 768, 32, 2]
    assert _value(reader, "llama.rope.freq_base") == 1e6


def _by_transformers(folder):
    """Plain angles over those that transformers computes."""
    from transformers import InternLM3Config
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = InternLM3Config.from_pretrained(folder)
    plain = 5e5 ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    return plain / ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}}, "not told mscale"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(package, tmp_path, changes, words):
    with pytest.raises(StageError, match=words):
        export(package(**changes), "gguf", tmp_path / "new")


def test_a_file_of_8_bits_says_so(tmp_path):
    names = [f"model.layers.{i}.mlp.{part}" for i in (0, 1) for part in ("gate_proj", "up_proj", "down_proj")]
    fine = tiny.quantized(tiny.hf_model(), tmp_path, finer=(tuple(names),))
    assert _value(_read(fine, tmp_path / "new")[0], "general.file_type") == LlamaFileType.MOSTLY_Q8_0
