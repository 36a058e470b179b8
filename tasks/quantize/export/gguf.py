"""GGUF, the file of llama.cpp: 4-bit matrices as Q4_0 and 8-bit ones as Q8_0, weight for weight the graph's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from torch import Tensor

from models.quantization import Quantized
from tasks.errors import StageError
from tasks.quantize.export.graph import Weights

BLOCK = 32  # of Q4_0 and Q8_0
ARCHITECTURES = {"llama": "llama", "internlm3": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}  # by model_type
CONTROL, USER_DEFINED, NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.NORMAL


def write(package: Path, weights: Weights, target: Path) -> list[str]:
    """Write `model.gguf` with tokenizer and chat template into `target`.

    Raises:
        StageError: an architecture or block size that GGUF has no place for.
    """
    config = weights.config
    if config["model_type"] not in ARCHITECTURES:
        raise StageError(f"export: {config['model_type']} has no GGUF form here; expected {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[config["model_type"]]
    writer = GGUFWriter(target / "model.gguf", architecture)
    _describe(writer, config)
    notes = _tokenizer(writer, package, config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config["num_hidden_layers"])
    for name, vector in _stored(weights, weights.vectors).items():
        stem, _, kind = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", _interleaved(name, vector, config, architecture).numpy())
    for name, matrix in _stored(weights, weights.matrices).items():
        codes, scales = (_interleaved(name, part, config, architecture) for part in (matrix.codes, matrix.scales))
        data, kind = _blocks(name, Quantized(codes, scales, matrix.format))
        writer.add_tensor(f"{names.get_name(name)}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return notes


def _stored(weights: Weights, parts: Mapping[str, Any]) -> dict[str, Any]:
    """A tied head is stored once, as the token table."""
    tied = weights.config.get("tie_word_embeddings", False)
    return {name.replace("lm_head", "model.embed_tokens") if tied else name: part for name, part in parts.items()}


def _describe(writer: GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or config
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _interleaved(name: str, rows: Tensor, config: dict[str, Any], architecture: str) -> Tensor:
    """llama.cpp turns neighbouring rows of a query or key head together, Hugging Face the two halves of the head."""
    kinds = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    heads = next((count for kind, count in kinds.items() if f".{kind}" in f".{name}"), 0)
    if architecture != "llama" or not heads:
        return rows
    return rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _blocks(name: str, matrix: Quantized) -> tuple[np.ndarray, GGMLQuantizationType]:
    """Bytes [N, K / 32 * size of a block]: an fp16 scale, then the codes; of Q4_0 weights i and i + 16 share a byte."""
    rows, columns = matrix.codes.shape
    if columns % BLOCK or matrix.format.block % BLOCK:
        raise StageError(
            f"export: {name} has {columns} inputs in blocks of {matrix.format.block}; GGUF needs multiples of {BLOCK}: "
            "quantize with quantize.block_size 32"
        )
    repeats = matrix.format.block // BLOCK
    scales = matrix.scales.repeat_interleave(repeats, dim=1)[:, : columns // BLOCK].half().numpy()
    codes = matrix.codes.numpy().reshape(rows, -1, BLOCK)
    if matrix.format.bits == 4:
        body, kind = codes[..., :16] | codes[..., 16:] << 4, GGMLQuantizationType.Q4_0
    else:
        body, kind = (codes.astype(np.int16) - 128).astype(np.int8).view(np.uint8), GGMLQuantizationType.Q8_0
    return np.concatenate([scales[..., None].view(np.uint8), body], axis=-1).reshape(rows, -1), kind


def _tokenizer(writer: GGUFWriter, package: Path, size: int) -> list[str]:
    """A byte-level BPE with its merges. llama.cpp knows pre-tokenizers by name only; what was not told is returned."""
    state = json.loads((package / "tokenizer.json").read_text(encoding="utf-8"))
    if state["model"]["type"] != "BPE":
        raise StageError(f"export: a {state['model']['type']} tokenizer; GGUF is written for byte-level BPE only")
    tokens = {id_: token for token, id_ in state["model"]["vocab"].items()}
    kinds = dict.fromkeys(tokens, NORMAL)
    for added in state["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([tokens.get(i, f"[UNUSED{i}]") for i in range(size)])
    writer.add_token_types([kinds.get(i, gguf.TokenType.UNUSED) for i in range(size)])
    merges = state["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    generation = json.loads((package / "generation_config.json").read_text(encoding="utf-8"))
    stop = generation["eos_token_id"]
    writer.add_bos_token_id(generation["bos_token_id"])
    writer.add_eos_token_id(stop[0] if isinstance(stop, list) else stop)
    writer.add_pad_token_id(generation["pad_token_id"])
    writer.add_add_bos_token(False)
    if (package / "chat_template.jinja").exists():
        writer.add_chat_template((package / "chat_template.jinja").read_text(encoding="utf-8"))
    name, known = _pre_tokenizer(state["pre_tokenizer"])
    writer.add_tokenizer_pre(name)
    return (
        [] if known else [f"llama.cpp has no name for this pre-tokenizer; written as {name}, words may split otherwise"]
    )


def _pre_tokenizer(state: dict[str, Any]) -> tuple[str, bool]:
    """Its name in llama.cpp, and whether that is exact."""
    steps = state.get("pretokenizers", [state])
    kinds = [step["type"] for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm", True
    return "gpt-2", kinds == ["ByteLevel"] and steps[0].get("use_regex", True)
