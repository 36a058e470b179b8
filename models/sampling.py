"""Texts out of a model in training, so that people see what it has learned so far."""

import torch
from torch import Tensor, nn

from models.lm import logits


@torch.no_grad()
def continuations(model: nn.Module, start: Tensor, length: int, seed: int, temperature: float = 0.8) -> Tensor:
    """Rows of ids [B, T] continued by `length` sampled ids, [B, T + length]; the seed decides the draw.

    Reads the whole row anew for every token: few short texts need no cache.
    """
    draw = torch.Generator(start.device).manual_seed(seed)
    ids = start
    for _ in range(length):
        positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        scores = logits(model, ids, positions)[:, -1].float() / temperature  # [B, V]
        ids = torch.cat([ids, torch.multinomial(scores.softmax(-1), 1, generator=draw)], 1)
    return ids
