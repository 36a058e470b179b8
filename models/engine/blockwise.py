"""Reading the blockwise products of a quantized graph."""

from collections.abc import Callable

import numpy as np
import onnx

BLOCKWISE = "MatMulNBits"


def plain(node: onnx.NodeProto) -> bool:
    """Whether it is a blockwise product and no more: columns in their order, no bias."""
    return node.op_type == BLOCKWISE and all(node.input) and len(node.input) < 5


def matrix(node: onnx.NodeProto, tensor: Callable[[str], np.ndarray]) -> np.ndarray:
    """The matrix [N, K] of a product in float32; `tensor(name)` gives the graph's constants."""
    columns, bits, block, _ = form(node)
    rows = attribute(node, "N")
    codes = _unpacked(tensor(node.input[1]).reshape(rows, -1), bits).reshape(rows, -1, block)
    scales = tensor(node.input[2]).reshape(rows, -1, 1).astype(np.float32)
    zero = np.array(1 << (bits - 1), np.float32)
    if len(node.input) > 3 and node.input[3]:
        zeros = tensor(node.input[3]).reshape(rows, -1)
        zeros = _unpacked(zeros, bits) if zeros.dtype == np.uint8 else zeros
        zero = zeros[:, : scales.shape[1], None].astype(np.float32)
    return ((codes.astype(np.float32) - zero) * scales).reshape(rows, -1)[:, :columns]


def table(node: onnx.NodeProto, codes: np.ndarray, tensor: Callable[[str], np.ndarray]) -> np.ndarray:
    """The table [V, K] that a lookup reads, in float32; K is whole blocks. `codes` are its bytes, in any shape."""
    scales = tensor(node.input[2]).astype(np.float32)  # [V, blocks]
    bits, block = attribute(node, "bits"), attribute(node, "block_size")
    values = _unpacked(codes.reshape(len(scales), -1), bits).reshape(*scales.shape, block).astype(np.float32)
    return ((values - (1 << (bits - 1))) * scales[..., None]).reshape(len(scales), -1)


def form(node: onnx.NodeProto) -> tuple[int, int, int, int]:
    """Columns, bits, block size and accuracy level of a product."""
    return tuple(attribute(node, name) for name in ("K", "bits", "block_size", "accuracy_level"))  # type: ignore[return-value]


def attribute(node: onnx.NodeProto, name: str) -> int:
    """An integer of the node; where it is not given, what onnxruntime takes."""
    return next((a.i for a in node.attribute if a.name == name), 4 if name == "bits" else 0)


def _unpacked(codes: np.ndarray, bits: int) -> np.ndarray:
    """Rows of bytes as rows of codes, the low ones first."""
    if bits == 8:
        return codes
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((codes[..., None] >> shifts) & ((1 << bits) - 1)).reshape(len(codes), -1)
