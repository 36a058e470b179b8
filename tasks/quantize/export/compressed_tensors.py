"""compressed-tensors, `pack-quantized`: what vLLM and transformers load, and LMDeploy after it.

Engines of this format leave token table and output head alone, so those two are written as plain fp16.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.quantization import Quantized
from tasks.quantize.export.graph import Weights

PLAIN = ("lm_head", "model.embed_tokens")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def write(package: Path, weights: Weights, target: Path) -> list[str]:
    """Write config, `model.safetensors` and the tokenizer into `target`."""
    tensors = {name: vector.half() for name, vector in weights.vectors.items()}
    tied = weights.config.get("tie_word_embeddings", False)
    for name, matrix in weights.matrices.items():
        if name in PLAIN:
            tensors["model.embed_tokens.weight" if tied else f"{name}.weight"] = matrix.dequantized().half()
        else:
            tensors |= {f"{name}.{kind}": tensor for kind, tensor in _packed(matrix).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target / "model.safetensors")
    config = weights.config | {"dtype": "float16", "quantization_config": quantization_config(weights)}
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    for name in TOKENIZER:
        if (package / name).exists():
            shutil.copyfile(package / name, target / name)
    return ["token table and output head are fp16: engines of this format do not quantize them"]


def quantization_config(weights: Weights) -> dict[str, Any]:
    """One group of modules for each number of bits, every module by its name."""
    modules: dict[tuple[int, int], list[str]] = {}
    for name, matrix in weights.matrices.items():
        if name not in PLAIN:
            modules.setdefault((matrix.format.bits, matrix.format.block), []).append(name)
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            f"group_{number}": {"targets": names, "weights": _scheme(*form)}
            for number, (form, names) in enumerate(sorted(modules.items()))
        },
    }


def _scheme(bits: int, block: int) -> dict[str, Any]:
    return {
        "num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": block, "dynamic": False
    }  # fmt: skip


def _packed(matrix: Quantized) -> dict[str, Tensor]:
    """Codes in 32-bit words, the first in the lowest bits; rows are padded to whole words."""
    bits = matrix.format.bits
    rows, columns = matrix.codes.shape
    each = 32 // bits
    codes = torch.nn.functional.pad(matrix.codes, (0, -columns % each)).long().reshape(rows, -1, each)
    words = (codes << torch.arange(0, 32, bits)).sum(-1)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
    return {
        "weight_packed": words,
        "weight_scale": matrix.scales.half(),
        "weight_shape": torch.tensor([rows, columns], dtype=torch.int64),
    }
