"""The weights of a quantized graph under the names of the Hugging Face model that it was made from."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from models.engine.smoothing import CODES
from models.quantization import Format, Quantized, unpacked
from tasks.errors import StageError

SCALES = ".scales"


@dataclass(frozen=True)
class Weights:
    """Matrices by module name, vectors by parameter name, and the model's config."""

    matrices: dict[str, Quantized]
    vectors: dict[str, Tensor]
    config: dict[str, Any]


def read_weights(package: Path) -> Weights:
    """What `fill` stored in the graph of `package`.

    Raises:
        StageError: the folder has no graph of the quantize stage.
    """
    path = package / "model.onnx"
    if not path.is_file():
        raise StageError(f"export: no model.onnx in {package}; expected a quantized model's folder")
    config = json.loads((package / "config.json").read_text(encoding="utf-8"))
    graph = onnx.load(str(path)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    matrices = {}
    for node in graph.node:
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            matrices |= _matrices(node, tensors, config)
    if not matrices:
        raise StageError(f"export: {path} has no quantized matrices; expected a graph of the quantize stage")
    vectors = {}
    for name, values in tensors.items():
        if name.endswith((".weight", ".bias")):
            vectors |= _vectors(name, values, config)
    return Weights(matrices, vectors, config)


def _matrices(node: onnx.NodeProto, tensors: dict[str, np.ndarray], config: dict[str, Any]) -> dict[str, Quantized]:
    facts = {attribute.name: attribute.i for attribute in node.attribute}
    form = Format(facts["bits"], facts["block_size"])
    codes = next(name for name in node.input if CODES in name).removesuffix(".rows")
    name = codes.removesuffix(CODES)
    columns = facts.get("K", config["hidden_size"])
    whole = unpacked(tensors[codes], tensors[name + SCALES], columns, form)
    parts = _parts(name, config)
    sizes = list(parts.values()) if len(parts) > 1 else [len(whole.codes)]
    cut = zip(parts, whole.codes.split(sizes), whole.scales.split(sizes), strict=True)
    return {part: Quantized(codes, scales, form) for part, codes, scales in cut}


def _vectors(name: str, values: np.ndarray, config: dict[str, Any]) -> dict[str, Tensor]:
    """Norms and biases, whose names in the graph differ from the model's."""
    if re.search(r"\.final_norm_layernorm\.weight$", name):
        return {"model.norm.weight": torch.from_numpy(values.copy())}
    stem, _, kind = name.replace(".layernorm.weight", ".weight").replace(".Add.bias", ".bias").rpartition(".")
    parts = _parts(stem, config)
    pieces = torch.from_numpy(values.copy()).split(list(parts.values()) if len(parts) > 1 else [len(values)])
    return {f"{part}.{kind}": piece for part, piece in zip(parts, pieces, strict=True)}


def _parts(name: str, config: dict[str, Any]) -> dict[str, int]:
    """The modules whose rows stand below each other under the graph's `name`, and their numbers of rows."""
    name = name.replace(".attn.", ".self_attn.")
    if not name.endswith(".qkv_proj"):
        return {name: 0}
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rows = {"q_proj": heads * size, "k_proj": config["num_key_value_heads"] * size}
    rows["v_proj"] = rows["k_proj"]
    return {name.replace("qkv_proj", part): count for part, count in rows.items()}
