"""Attention over a sequence whose stretches lie on several ranks: queries stay, keys and values are gathered.

Exact for any mask, packed documents included, and small for grouped queries: key and value heads are few (context
parallelism of Llama 3, Grattafiori et al. 2024, section 3.3.2). Letters: B rows, H heads, T tokens of the whole
sequence, t of this rank's stretch, D channels.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_gather_single_autograd
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface

from models import attention_flash, attention_flex
from models.attention import ACROSS, documents, visible


def attend_across(base: nn.Module, context: DeviceMesh, tensor: DeviceMesh) -> None:
    """Let a decoder, given stretches of sequences, attend over all of them.

    By FlexAttention where it would have attended by it or by flash, whose kernel knows no queries without their keys.
    """
    blocks = base.config._attn_implementation in (attention_flex.NAME, attention_flash.NAME)
    base.config._attn_implementation = ACROSS
    for module in base.modules():
        if hasattr(module, "o_proj"):
            module.context = context
    base.register_forward_pre_hook(_Whole(context, tensor, blocks), with_kwargs=True)


class _Whole:
    """Positions and mask of what this rank's matrices see: its context's stretch, and the whole row as keys."""

    def __init__(self, context: DeviceMesh, tensor: DeviceMesh, blocks: bool) -> None:
        self.context, self.tensor, self.blocks = context, tensor, blocks

    def __call__(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        stretch = gathered(named["position_ids"], 1, self.tensor)  # [B, t]
        row = gathered(stretch, 1, self.context)  # [B, T]
        return given, named | {"position_ids": stretch, "attention_mask": self._mask(row, stretch.shape[1])}

    def _mask(self, positions: Tensor, length: int) -> Tensor | BlockMask:
        """Who may look at whom, [B, 1, t, T] bool or in blocks: the past within the same document."""
        document = documents(positions)  # [B, 1, 1, T]
        first = self.context.get_local_rank() * length
        if self.blocks:
            return attention_flex.block_mask(document[:, 0, 0], first, length)
        return visible(document, first, length)


def attention_across(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [B, H, t, D] -> [B, t, H, D]."""
    key, value = (gathered(states, 2, module.context) for states in (key, value))  # [B, heads, T, D]
    if isinstance(attention_mask, BlockMask):
        return attention_flex.attend(module, query, key, value, attention_mask, scaling)
    grouped = query.shape[1] != key.shape[1]
    attended = F.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=grouped
    )
    return attended.transpose(1, 2).contiguous(), None


def gathered(tensor: Tensor, dimension: int, mesh: DeviceMesh) -> Tensor:
    """All ranks' stretches in order; gradients go back as sums to the rank that they belong to."""
    if mesh.size() == 1:
        return tensor
    return all_gather_single_autograd(tensor.contiguous(), dimension, mesh.get_group())


AttentionInterface.register(ACROSS, attention_across)
