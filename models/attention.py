"""Causal attention within the documents of a packed row, as blocks of plain matrix products.

On a CPU, torch's fused attention runs at a small part of the speed of its matrix products. Here each block of queries
meets all the keys up to its end in one batched product, so the softmax works on rows in cache and half of the scores
above the diagonal are never computed. transformers takes it under the name `packed`; its mask is not a mask but
each position's document number, [B, 1, 1, T]. Letters: B rows, H heads, T tokens, D channels of a head.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "packed"
ACROSS = "across"
"""The attention of models/parallel_attention.py, which makes its mask from positions itself."""

BLOCK = 128
"""Queries per product: the scores of a block and its keys stay in the second-level cache."""

LONGEST = 1024
"""Probabilities are kept for the backward pass, T²/2 of them per head; longer rows are the fused kernel's."""


def documents(position_ids: Tensor) -> Tensor:
    """The number of each position's document in its row, counted from 1, [B, 1, 1, T]; positions restart at 0."""
    return (position_ids == 0).cumsum(1, dtype=torch.int32)[:, None, None]


def packed_mask(position_ids: Tensor) -> Tensor:
    """Document numbers [B, 1, 1, T]; who sees whom, [B, 1, T, T], for the fused kernel, whose long rows are."""
    numbers = documents(position_ids)
    return numbers if position_ids.shape[1] <= LONGEST else visible(numbers)


def unusual(model: nn.Module) -> list[str]:
    """What of `model`'s attention is more than softmax over the past: its settings by name, none for a plain one."""
    settings = ("sliding_window", "attn_logit_softcapping", "attention_chunk_size")
    found = [name for name in settings if getattr(model.config, name, None)]
    found += ["sinks"] * any(name.endswith(".sinks") for name, _ in model.named_parameters())
    return found if getattr(model, "_supports_attention_backend", False) else [*found, "an attention of its own"]


def visible(document: Tensor, first: int = 0, queries: int | None = None) -> Tensor:
    """Who may look at whom, [B, 1, t, T] bool: the past and oneself, within the same document [B, 1, 1, T].

    Of the t queries from `first` on, all by default.
    """
    order = torch.arange(document.shape[3], device=document.device)
    mine = slice(first, None if queries is None else first + queries)
    return (document[..., mine].transpose(2, 3) == document) & (order[mine, None] >= order)


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [B, H, T, D], key and value with their own heads -> [B, T, H, D].

    Long rows, whose mask is [B, 1, T, T], take the fused kernel.
    """
    if attention_mask.shape[2] > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling)
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotations are fp32 under autocast
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return PackedAttention.apply(query, key, value, attention_mask, scaling).transpose(1, 2), None


class PackedAttention(torch.autograd.Function):
    """softmax(scale · q kᵀ) v over the past of the same document (Vaswani et al. 2017, section 3.2.1)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, document: Tensor, scale: float) -> Tensor:
        """q, k, v [B, H, T, D], document [B, 1, 1, T] -> [B, H, T, D]."""
        probabilities = [_probabilities(q, k, document, scale, lo, hi) for lo, hi in _blocks(q.shape[2])]
        attended = torch.cat([p @ v[:, :, : p.shape[3]] for p in probabilities], 2)
        ctx.save_for_backward(q, k, v, attended, *probabilities)
        ctx.scale = scale
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Through the softmax with its row sums taken from the output (Dao et al. 2022, appendix B.2)."""
        q, k, v, attended, *probabilities = ctx.saved_tensors
        given = gradients[0].to(q.dtype)
        sums = (given.float() * attended.float()).sum(-1, keepdim=True)  # [B, H, T, 1]
        dq, dk, dv = [], [], []
        for (lo, hi), p in zip(_blocks(q.shape[2]), probabilities, strict=True):
            wanted = given[:, :, lo:hi]
            dp = wanted @ v[:, :, :hi].transpose(2, 3)
            ds = (p.float() * (dp.float() - sums[:, :, lo:hi]) * ctx.scale).to(q.dtype)
            dq.append(ds @ k[:, :, :hi])
            dk.append(_lengthened(ds.transpose(2, 3) @ q[:, :, lo:hi], k.shape[2]))
            dv.append(_lengthened(p.transpose(2, 3) @ wanted, k.shape[2]))
        return torch.cat(dq, 2), sum(dk), sum(dv), None, None


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    return ((lo, min(lo + BLOCK, length)) for lo in range(0, length, BLOCK))


def _probabilities(q: Tensor, k: Tensor, document: Tensor, scale: float, lo: int, hi: int) -> Tensor:
    """Of queries `lo` to `hi` over the keys before `hi`, [B, H, hi - lo, hi]."""
    scores = (q[:, :, lo:hi] @ k[:, :, :hi].transpose(2, 3)).float() * scale
    order = torch.arange(hi, device=q.device)
    seen = (document[..., lo:hi].transpose(2, 3) == document[..., :hi]) & (order[lo:hi, None] >= order)
    return torch.where(seen, scores, float("-inf")).softmax(-1).to(q.dtype)


def _lengthened(block: Tensor, length: int) -> Tensor:
    return nn.functional.pad(block, (0, 0, 0, length - block.shape[2]))


AttentionInterface.register(NAME, packed_attention)
