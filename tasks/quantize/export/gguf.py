"""GGUF, the file of llama.cpp: 4-bit matrices as Q4_0 and 8-bit ones as Q8_0, weight for weight the graph's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from torch import Tensor

from models.quantization import Quantized
from tasks.errors import StageError
from tasks.quantize.export.gguf_config import describe
from tasks.quantize.export.gguf_tokenizer import write_tokenizer
from tasks.quantize.export.graph import Weights

BLOCK = 32  # of Q4_0 and Q8_0
ARCHITECTURES = {"llama": "llama", "internlm3": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}  # by model_type


def write(package: Path, weights: Weights, target: Path) -> list[str]:
    """Write `model.gguf` with tokenizer and chat template into `target`.

    Raises:
        StageError: an architecture, rotation, tokenizer or block size that GGUF has no place for.
    """
    config = weights.config
    if config["model_type"] not in ARCHITECTURES:
        raise StageError(f"export: {config['model_type']} has no GGUF form here; expected {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[config["model_type"]]
    writer = GGUFWriter(target / "model.gguf", architecture)
    describe(writer, config, weights.matrices.values())
    notes = write_tokenizer(writer, package, config)
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
