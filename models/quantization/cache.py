"""Scales for keys and values kept in int8: one per channel, fixed, from calibration text."""

import torch
from torch import Tensor, nn

LARGEST = 127  # of an int8 code


@torch.inference_mode()
def cache_scales(model: nn.Module, windows: Tensor, rows: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Of each layer the scales of its keys and of its values, each [kv_heads * head_dim], over `windows` [W, T].

    A key's channels turn in pairs with its position, so a pair shares the largest length that any turn of it can show.
    """
    largest: list[tuple[Tensor, Tensor]] = []
    for batch in windows.split(rows):
        with torch.autocast("cpu", torch.bfloat16):
            layers = model(input_ids=batch, use_cache=True).past_key_values.layers
        found = [(_turned(layer.keys.float()), layer.values.float().abs().amax((0, 2))) for layer in layers]
        pairs = zip(largest or found, found, strict=True)
        largest = [(torch.maximum(k, k2), torch.maximum(v, v2)) for (k, v), (k2, v2) in pairs]
    return [tuple((x / LARGEST).clamp_min(1e-8).flatten() for x in layer) for layer in largest]


def _turned(keys: Tensor) -> Tensor:
    """Largest lengths [kv_heads, head_dim] of the pairs (i, i + head_dim / 2) in keys [B, kv_heads, T, head_dim]."""
    lengths = torch.linalg.vector_norm(keys.unflatten(-1, (2, -1)), dim=-2)  # [B, kv_heads, T, head_dim / 2]
    return lengths.amax((0, 2)).repeat(1, 2)
