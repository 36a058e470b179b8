"""What GGUF says of a network besides its weights, and what it has no place for."""

import math
from collections.abc import Iterable
from typing import Any

import gguf
import numpy as np
from gguf import GGUFWriter

from models.quantization import Quantized
from tasks.errors import StageError
from tasks.quantize.export.config import rotations

SAID = {  # of each kind of scaled rotation, what the file says; anything else would be dropped
    "default": set(),
    "linear": {"factor"},
    "yarn": {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow"},
    "llama3": {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
}


def describe(writer: GGUFWriter, config: dict[str, Any], matrices: Iterable[Quantized]) -> None:
    """Write sizes, rotations and the kind of file.

    Raises:
        StageError: an activation, an attention or a rotation that llama.cpp would compute otherwise.
    """
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    _check(config)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(size)
    writer.add_value_length(size)
    _rotations(writer, config, size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(_kind(matrices))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _check(config: dict[str, Any]) -> None:
    for name, expected in (("hidden_act", "silu"), ("use_sliding_window", False)):
        if (found := config.get(name, expected)) != expected:
            raise StageError(f"export: {name} is {found}; llama.cpp's network of this kind has {expected} only")


def _kind(matrices: Iterable[Quantized]) -> gguf.LlamaFileType:
    """By the bits of most weights."""
    counts = dict.fromkeys((4, 8), 0)
    for matrix in matrices:
        counts[matrix.format.bits] += matrix.codes.numel()
    return gguf.LlamaFileType.MOSTLY_Q8_0 if counts[8] > counts[4] else gguf.LlamaFileType.MOSTLY_Q4_0


def _rotations(writer: GGUFWriter, config: dict[str, Any], size: int) -> None:
    """`size` of a head, base, and how angles are scaled."""
    base, kind, rope = rotations(config)
    left = rope.keys() - SAID.get(kind, set())
    if kind not in SAID or left:
        what = ", ".join(sorted(left)) or "it"
        raise StageError(
            f"export: rotations of rope_type {kind!r}: GGUF is not told {what}; expected {', '.join(SAID)}"
        )
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(base)
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", _stretched(base, size, rope))
    elif kind != "default":
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(
            rope.get("original_max_position_embeddings", config["max_position_embeddings"])
        )
        writer.add_rope_scaling_yarn_beta_fast(rope.get("beta_fast", 32.0))
        writer.add_rope_scaling_yarn_beta_slow(rope.get("beta_slow", 1.0))


def _stretched(base: float, size: int, rope: dict[str, Any]) -> np.ndarray:
    """What each angle [size / 2] is divided by, fp32: Llama 3.1's rule (Grattafiori et al. 2024; transformers'
    `_compute_llama3_parameters`): long waves by `factor`, short ones by 1, smoothly between them."""
    waves = 2 * math.pi * base ** (np.arange(0, size, 2) / size)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((rope["original_max_position_embeddings"] / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)
