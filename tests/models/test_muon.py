"""Muon in batches follows torch's own Muon."""

import torch

from models.muon import Muon, newton_schulz


def test_it_takes_the_steps_of_torchs_muon():
    draw = torch.Generator().manual_seed(0)
    shapes = [(24, 16), (16, 24), (24, 16), (16, 16)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    optimizers = Muon(ours, lr=0.02, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=draw)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).abs().max() < 2e-3  # bf16 sums in another order; a step moves weights by about 0.02


def test_updates_are_nearly_orthogonal_whatever_the_scale():
    matrices = (
        torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(1)) * torch.tensor([1e-3, 1, 1e3])[:, None, None]
    )
    values = torch.linalg.svdvals(newton_schulz(matrices.bfloat16()).float())
    assert values.min() > 0.3 and values.max() < 1.3
