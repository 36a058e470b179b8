"""compressed-tensors, `pack-quantized`: what vLLM, transformers and LMDeploy load.

Engines of this format leave token table and output head alone, so those two are written as plain fp16. LMDeploy
(0.16 to 0.18, turbomind/converter.py) reads the first group alone, of 4 bits in groups of 32 or 128: its export has
the 8-bit matrices as fp16, too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.quantization import Quantized
from tasks.errors import StageError
from tasks.quantize.export.config import copy_tokenizer, portable_config
from tasks.quantize.export.graph import Weights

PLAIN = ("lm_head", "model.embed_tokens")
KIND = "pack-quantized"


@dataclass(frozen=True)
class Reader:
    """What an engine can read packed: bits of a weight, and weights that share a scale."""

    name: str
    bits: tuple[int, ...]
    groups: tuple[int, ...]

    def packs(self, name: str, matrix: Quantized) -> bool:
        """Whether the matrix stays packed; else it is written as fp16.

        Raises:
            StageError: the engine could only misread its groups.
        """
        if name in PLAIN or matrix.format.bits not in self.bits:
            return False
        columns, block = matrix.codes.shape[1], matrix.format.block
        if block not in self.groups or columns % block:
            known = ", ".join(map(str, self.groups))
            raise StageError(
                f"export: {name} has {columns} inputs in groups of {block}; {self.name} reads whole groups of {known}: "
                "quantize with quantize.block_size 32"
            )
        return True


VLLM = Reader("vLLM", bits=(4, 8), groups=(32, 64, 128))
LMDEPLOY = Reader("LMDeploy", bits=(4,), groups=(32, 128))


def write_for(reader: Reader, package: Path, weights: Weights, target: Path) -> list[str]:
    """Write config, `model.safetensors` and the tokenizer into `target`.

    Raises:
        StageError: a group size that the reader does not know.
    """
    packed = {name for name, matrix in weights.matrices.items() if reader.packs(name, matrix)}
    tensors = {name: vector.half() for name, vector in weights.vectors.items()}
    for name, matrix in weights.matrices.items():
        tensors |= dict(_packed(name, matrix) if name in packed else _plain(name, matrix, weights.config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target / "model.safetensors")
    config = portable_config(weights.config)
    if packed:
        config["quantization_config"] = _quantization(weights, packed)
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    copy_tokenizer(package, target)
    return list(_notes(reader, set(weights.matrices) - packed - set(PLAIN)))


def _notes(reader: Reader, widened: set[str]) -> Iterator[str]:
    yield "token table and output head are fp16: engines of this format do not quantize them"
    if widened:
        yield f"{len(widened)} matrices of 8 bits are fp16: {reader.name} reads 4 bits only"


def _quantization(weights: Weights, packed: set[str]) -> dict[str, Any]:
    """One group of modules for each number of bits, every module by its name; all others ignored by theirs."""
    modules: dict[tuple[int, int], list[str]] = {}
    for name in (name for name in weights.matrices if name in packed):
        form = weights.matrices[name].format
        modules.setdefault((form.bits, form.block), []).append(name)
    return {
        "quant_method": "compressed-tensors",
        "format": KIND,
        "quantization_status": "compressed",
        "ignore": ["lm_head", *sorted(set(weights.matrices) - packed - set(PLAIN))],
        "config_groups": {
            f"group_{number}": {"targets": names, "format": KIND, "weights": _scheme(*form)}
            for number, (form, names) in enumerate(sorted(modules.items()))
        },
    }


def _scheme(bits: int, block: int) -> dict[str, Any]:
    return {
        "num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": block, "dynamic": False
    }  # fmt: skip


def _plain(name: str, matrix: Quantized, config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    tied = name in PLAIN and config.get("tie_word_embeddings", False)
    yield f"{'model.embed_tokens' if tied else name}.weight", matrix.dequantized().half()


def _packed(name: str, matrix: Quantized) -> Iterator[tuple[str, Tensor]]:
    """Codes in 32-bit words, the first in the lowest bits; rows are whole words, as groups are whole."""
    bits = matrix.format.bits
    rows, columns = matrix.codes.shape
    codes = matrix.codes.long().reshape(rows, -1, 32 // bits)
    words = (codes << torch.arange(0, 32, bits)).sum(-1)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
    yield f"{name}.weight_packed", words
    yield f"{name}.weight_scale", matrix.scales.half()
    yield f"{name}.weight_shape", torch.tensor([rows, columns], dtype=torch.int64)
