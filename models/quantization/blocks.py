"""Weights as small integers: blocks along the input axis share a scale, without zero points."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SCALES = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15)  # tried around the one that just covers a block's largest weight
BLOCKS = 4096  # searched at once: half a megabyte, which a core's cache holds
SMALLEST = 2.0**-24  # of fp16


@dataclass(frozen=True)
class Format:
    """How a matrix is stored: `bits` per weight, and a scale for every `block` weights of a row."""

    bits: int
    block: int

    @property
    def zero(self) -> int:
        """The code that means 0."""
        return 1 << (self.bits - 1)


@dataclass(frozen=True)
class Quantized:
    """A matrix [N, K]: `codes` [N, K] uint8 and `scales` [N, ceil(K / block)] fp32; weight = (code - zero) * scale.

    Scales have fp16 precision, so that every format the model leaves in stores them exactly.
    """

    codes: Tensor
    scales: Tensor
    format: Format

    def dequantized(self) -> Tensor:
        """The matrix [N, K] that the codes stand for, fp32."""
        spread = self.scales.repeat_interleave(self.format.block, dim=1)[:, : self.codes.shape[1]]
        return (self.codes.float() - self.format.zero) * spread

    @property
    def bytes(self) -> int:
        """Codes and fp16 scales."""
        return self.codes.numel() * self.format.bits // 8 + self.scales.numel() * 2


def stacked(parts: Sequence[Quantized]) -> Quantized:
    """The rows of several matrices of one format below each other."""
    codes, scales = (torch.cat([getattr(part, name) for part in parts]) for name in ("codes", "scales"))
    return Quantized(codes, scales, parts[0].format)


def round_to_nearest(weight: Tensor, form: Format, importance: Tensor | None = None) -> Quantized:
    """The matrix [N, K] rounded to nearest, on scales that least square errors weighted by `importance` [K] choose."""
    scales = search_scales(weight, form, importance)
    spread = scales.repeat_interleave(form.block, dim=1)[:, : weight.shape[1]]
    return Quantized(codes(weight, spread, form), scales, form)


def codes(weight: Tensor, scales: Tensor, form: Format) -> Tensor:
    """The nearest codes, uint8; `scales` has the shape of `weight`."""
    return (torch.round(weight / scales) + form.zero).clamp_(0, 2 * form.zero - 1).to(torch.uint8)


def search_scales(weight: Tensor, form: Format, importance: Tensor | None = None) -> Tensor:
    """Scales [N, ceil(K / block)] of least weighted square error.

    The largest weight, with its sign, sits near the lowest code, which reaches one step further than the highest: a
    scale may be negative. From there some smaller and larger scales are tried, and each is refitted by least squares to
    the codes it gives (the scheme of llama.cpp's reference quantizers).
    """
    rows, columns = weight.shape
    count = -(-columns // form.block)
    padding = (0, count * form.block - columns)
    blocks = torch.nn.functional.pad(weight, padding).reshape(rows * count, form.block)
    if importance is None:
        importance = torch.ones(columns)
    # Of mean 1 and never 0: an input that was hardly seen still deserves its weight.
    importance = importance / importance.mean().clamp_min(SMALLEST) + 1e-3
    weights = torch.nn.functional.pad(importance, padding).reshape(count, form.block).repeat(rows, 1)
    parts = zip(blocks.split(BLOCKS), weights.split(BLOCKS), strict=True)
    return torch.cat([_search(*part, form) for part in parts]).reshape(rows, count)


def _search(blocks: Tensor, importance: Tensor, form: Format) -> Tensor:
    """The best scales [M, 1] of blocks [M, block]."""
    low, high = -form.zero, form.zero - 1
    largest = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))  # signed
    start = torch.where(largest == 0, SMALLEST, largest / low)
    weighted = importance * blocks
    best, error = start, torch.full_like(start, torch.inf)
    for factor in SCALES:
        q = (blocks / (start * factor)).round_().clamp_(low, high)
        fitted = (weighted * q).sum(1, keepdim=True) / (importance * q * q).sum(1, keepdim=True)
        fitted = fitted.half().float()
        fitted = torch.where(fitted.isfinite() & (fitted != 0), fitted, start.half().float().clamp_min(SMALLEST))
        q = (blocks / fitted).round_().clamp_(low, high)
        loss = (importance * (blocks - q * fitted).square_()).sum(1, keepdim=True)
        better = loss < error
        best, error = torch.where(better, fitted, best), torch.where(better, loss, error)
    return best
