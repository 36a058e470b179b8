"""Strong inputs of int8 products made weaker, and their weights stronger to match (SmoothQuant, Xiao et al. 2023).

A row of activations shares one int8 scale, so a few strong inputs take the steps of all others. How strong each input
is, the quantize stage has seen on calibration text. What makes the inputs divides by the scale: a norm in its weights,
the ungated half of an MLP in its rows.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import load_file, save_file

from models.engine.blockwise import plain

LOGITS = "logits"
NORM_WEIGHT = {"SimplifiedLayerNormalization": 1, "SkipSimplifiedLayerNormalization": 2}  # which input it is
CODES = ".codes"  # after a matrix's name, in the graph
SMALLEST = 1e-5  # of the strongest: an input that was hardly seen still has some strength

_FILE = "strengths.safetensors"


def save(strengths: Mapping[str, np.ndarray], directory: Path) -> None:
    """Write, by the name of each matrix, the root mean squares [K] of its inputs, up to a factor."""
    save_file({name: np.ascontiguousarray(values, np.float32) for name, values in strengths.items()}, directory / _FILE)


def strengths(directory: Path) -> dict[str, np.ndarray]:
    """What `save` wrote; nothing when it did not."""
    path = directory / _FILE
    return load_file(path) if path.exists() else {}


def plan(
    graph: onnx.GraphProto,
    known: Mapping[str, np.ndarray],
    matrix: Callable[[onnx.NodeProto], np.ndarray],
    turned: Container[str],
) -> dict[str, np.ndarray]:
    """By tensor, what to divide it by; `matrix(node)` gives the matrix [N, K] of a blockwise product.

    Only tensors that nothing but products read, that can be divided at no cost where they are made, and are not
    `turned` already.
    """
    makers = {node.output[0]: node for node in graph.node}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    found = {}
    for source, nodes in readers.items():
        strength = known.get(nodes[0].input[1].removesuffix(CODES)) if _all_products(nodes, source) else None
        divided = _divisible(source, makers, readers)
        if strength is not None and divided and source not in turned:
            weights = np.max([np.abs(matrix(node)).max(axis=0) for node in nodes], axis=0)
            found[source] = found[divided] = _scale(strength, weights)
    return found


def _all_products(nodes: list[onnx.NodeProto], source: str) -> bool:
    """Whether products alone read it, but for the one with the vocabulary: last hidden states are an output as well."""
    return all(plain(node) and node.input[0] == source and node.output[0] != LOGITS for node in nodes)


def _divisible(source: str, makers: Mapping[str, onnx.NodeProto], readers: Mapping[str, list]) -> str:
    """The tensor to divide so that `source` is: itself behind a norm, a factor of it that a product makes; else ""."""
    maker = makers.get(source)
    if maker is None:
        return ""
    if maker.op_type in NORM_WEIGHT:
        return source
    last = maker.input[-1] if maker.op_type == "Mul" else ""
    return last if last in makers and plain(makers[last]) and len(readers[last]) == 1 else ""


def _scale(strength: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Half of what would make all inputs equally strong, in logarithms: the paper's alpha of 0.5, section 4."""
    inputs, columns = (np.maximum(x, SMALLEST * x.max()) for x in (strength, weights))
    scale = np.sqrt(inputs / columns)
    return (scale / np.sqrt(scale.max() * scale.min())).astype(np.float32)
