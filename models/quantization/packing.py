"""Codes as bytes, the way onnxruntime's MatMulNBits and GatherBlockQuantized read them, and back."""

import numpy as np
import torch

from models.quantization.blocks import Format, Quantized


def packed(matrix: Quantized) -> tuple[np.ndarray, np.ndarray]:
    """Bytes [N, blocks, block * bits / 8] uint8, the earlier weight in the lower half, and scales [N, blocks] fp32."""
    rows, columns = matrix.codes.shape
    count, form = matrix.scales.shape[1], matrix.format
    padded = np.full((rows, count * form.block), form.zero, np.uint8)
    padded[:, :columns] = matrix.codes.numpy()
    if form.bits == 4:
        padded = padded[:, 0::2] | padded[:, 1::2] << 4
    return padded.reshape(rows, count, -1), matrix.scales.float().numpy()


def unpacked(data: np.ndarray, scales: np.ndarray, columns: int, form: Format) -> Quantized:
    """The matrix [N, columns] that `packed` made bytes of."""
    rows = len(data)
    flat = data.reshape(rows, -1)
    if form.bits == 4:
        flat = np.stack([flat & 15, flat >> 4], axis=-1).reshape(rows, -1)
    return Quantized(
        torch.from_numpy(flat[:, :columns].copy()), torch.from_numpy(scales.reshape(rows, -1).copy()), form
    )
