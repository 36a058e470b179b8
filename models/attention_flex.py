"""Attention within the documents of packed rows by torch's FlexAttention (Dong et al. 2024), for GPUs.

Its mask lists, for each block of queries, the blocks of keys that it sees in part and those that it sees whole; the
rest is never computed. Documents follow each other, so the first and last number of a block say all: no mask of
[T, T] ever exists. Run forward on CPUs so far; torch has its backward for GPUs only.
Letters: B rows, T tokens, t queries, H heads, D channels of a head.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface

NAME = "document_flex"
BLOCK = 128
"""Queries and keys of a block; FlexAttention's own."""


def block_mask(document: Tensor, first: int = 0, queries: int | None = None) -> BlockMask:
    """Who may look at whom: the past within the same document [B, T], for queries `first` to `first + queries`."""
    length = document.shape[1]
    queries = length - first if queries is None else queries
    key_first, key_last = _ends(document)  # [B, blocks of keys]
    query_first, query_last = _ends(document[:, first : first + queries])
    starts = torch.arange(0, key_first.shape[1] * BLOCK, BLOCK, device=document.device)
    begins = torch.arange(first, first + query_first.shape[1] * BLOCK, BLOCK, device=document.device)[:, None]
    seen = (starts < (begins + BLOCK).clamp(max=first + queries)) & (key_last[:, None] >= query_first[..., None])
    whole = (starts + BLOCK - 1 <= begins) & (key_first[:, None] == query_last[..., None])

    def sees(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (document[row, query + first] == document[row, key]) & (query + first >= key)

    return BlockMask.from_kv_blocks(
        *_listed(seen & ~whole), *_listed(whole), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(queries, length)
    )


def attend(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: BlockMask, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [B, H, t, D], key and value with their own heads -> [B, t, H, D]."""
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotations are fp32 under autocast
    grouped = query.shape[1] != key.shape[1]
    kernel = _kernel(query.device.type)
    attended = kernel(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=grouped)
    return attended.transpose(1, 2).contiguous(), None


def _ends(document: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of each block's first and last token, [B, blocks]; the last block may be shorter."""
    last = torch.arange(BLOCK - 1, document.shape[1] + BLOCK - 1, BLOCK, device=document.device)
    return document[:, ::BLOCK], document[:, last.clamp(max=document.shape[1] - 1)]


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many key blocks each query block has, and their numbers before all others, [B, 1, ...] int32."""
    chosen = blocks[:, None].to(torch.int32)
    return chosen.sum(-1, dtype=torch.int32), chosen.argsort(dim=-1, descending=True, stable=True).to(torch.int32)


def _kernel(device: str) -> Callable[..., Tensor]:
    """FlexAttention is fast and lean only compiled; within a compiled layer it is part of its graph."""
    if device == "cpu" or torch.compiler.is_compiling():
        return flex_attention
    return _compiled_alone


def _compiled_alone(*arguments: Any, **named: Any) -> Tensor:
    """Also where the rest is told to run eagerly, as in validation: uncompiled, it would hold all scores at once."""
    with torch.compiler.set_stance("default"):
        return _compiled()(*arguments, **named)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)


AttentionInterface.register(NAME, attend)
