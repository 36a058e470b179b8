"""GPTQ: rounding one input at a time while the inputs yet to come make up for the error (Frantar et al. 2023)."""

import torch
from torch import Tensor

from models.quantization.blocks import Format, Quantized, codes, search_scales

DAMPING = 0.01  # of the mean of the diagonal, as in the paper
LAZY = 64  # columns rounded before the rest of the matrix hears of their errors


def gptq(weight: Tensor, moment: Tensor, form: Format) -> Quantized:
    """The matrix [N, K] in codes of least output error under the inputs' second moment `moment` [K, K].

    Columns go in the order of their inputs' strength, on scales fixed beforehand (the paper's act-order with static
    groups), so that the stored matrix keeps its column order.
    """
    scales = search_scales(weight, form, moment.diagonal())
    order = torch.argsort(moment.diagonal(), descending=True, stable=True)
    spread = scales.t()[order // form.block]  # [K, N], as everything below
    rounded = torch.empty(weight.shape[::-1], dtype=torch.uint8)
    rounded[order] = _round(weight.t()[order], spread, _factor(moment[order][:, order]), form)
    return Quantized(rounded.t().contiguous(), scales, form)


def _factor(moment: Tensor) -> Tensor:
    """Upper Cholesky factor [K, K] of the inverse of the damped moment; unseen inputs count as independent."""
    moment = moment.double().clone()
    moment.diagonal().add_(DAMPING * moment.diagonal().mean().clamp_min(1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
    return torch.linalg.cholesky(inverse, upper=True).float()


def _round(weight: Tensor, scales: Tensor, factor: Tensor, form: Format) -> Tensor:
    """Codes [K, N] of `weight` [K, N], which is worn out."""
    rounded = torch.empty(weight.shape, dtype=torch.uint8)
    for begin in range(0, len(weight), LAZY):
        end = min(begin + LAZY, len(weight))
        errors = torch.empty(end - begin, weight.shape[1])
        for i in range(begin, end):
            rounded[i] = codes(weight[i], scales[i], form)
            errors[i - begin] = (weight[i] - (rounded[i].float() - form.zero) * scales[i]) / factor[i, i]
            weight[i + 1 : end].addr_(factor[i, i + 1 : end], errors[i - begin], alpha=-1)
        weight[end:] -= factor[begin:end, end:].t() @ errors
    return rounded
