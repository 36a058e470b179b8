"""Attention within documents by FlashAttention's kernel for sequences of various lengths (Dao 2023), for GPUs.

All rows lie end to end and their documents are the sequences, so there is no mask at all. It needs CUDA and 16-bit
numbers; not run on a GPU yet. Letters: B rows, T tokens, H heads, D channels of a head, N documents of all rows.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

NAME = "document_varlen"
"""Not a name with `flash` in it: transformers would look for a kernel of that name of its own."""
HALF = (torch.bfloat16, torch.float16)


def borders(position_ids: Tensor) -> Tensor:
    """Where each document of the rows [B, T] begins when they lie end to end, and the end, [1, 1, 1, N + 1] int32.

    Rows begin documents, too. On a GPU this waits for it: memory for N numbers needs N.
    """
    begins = position_ids == 0
    begins[:, 0] = True
    starts = begins.flatten().nonzero().flatten()
    return torch.cat([starts, starts.new_tensor([position_ids.numel()])]).to(torch.int32)[None, None, None]


def of_any_number(found: Tensor) -> Tensor:
    """Borders that compiled layers take for any N."""
    torch._dynamo.maybe_mark_dynamic(found, 3)
    return found


def attend(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [B, H, T, D], key and value with their own heads -> [B, T, H, D].

    Single precision, as of samples drawn without autocast, is rounded to bf16.
    """
    rows, heads, length, _channels = query.shape
    kind = value.dtype if value.dtype in HALF else torch.bfloat16
    q, k, v = (states.transpose(1, 2).flatten(0, 1).to(kind) for states in (query, key, value))  # [B·T, heads, D]
    ends, grouped = attention_mask[0, 0, 0], heads != key.shape[1]
    attended = varlen_attn(
        q, k, v, ends, ends, length, length, scale=scaling, window_size=(-1, 0), enable_gqa=grouped
    )  # the window of everything before is how it is told to be causal
    return attended.unflatten(0, (rows, length)).to(value.dtype), None


AttentionInterface.register(NAME, attend)
