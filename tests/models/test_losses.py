"""The loss without logits is the loss with them, and so are its gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from models import losses
from models.losses import IGNORED, linear_cross_entropy


def by_logits(hidden, head, labels, z_loss):
    logits = hidden @ head.T
    kept = (labels != IGNORED).to(logits.dtype)
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return loss + z_loss * (logits.logsumexp(1).square() * kept).sum()


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_it_equals_cross_entropy_over_many_chunks(monkeypatch, z_loss):
    monkeypatch.setattr(losses, "FEWEST_ROWS", 7)
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", 1)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(40, 16, generator=draw, requires_grad=True)
    head = torch.randn(50, 16, generator=draw, requires_grad=True)
    labels = torch.randint(0, 50, (40,), generator=draw)
    labels[::6] = IGNORED
    ours, expected = linear_cross_entropy(hidden, head, labels, z_loss), by_logits(hidden, head, labels, z_loss)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    found, wanted = (torch.autograd.grad(3 * loss, (hidden, head)) for loss in (ours, expected))
    assert all(torch.allclose(mine, theirs, atol=1e-4, rtol=1e-4) for mine, theirs in zip(found, wanted, strict=True))


def test_a_frozen_head_changes_nothing_else():
    draw = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(40, 16, generator=draw), torch.randn(50, 16, generator=draw)
    labels = torch.randint(0, 50, (40,), generator=draw)
    gradients = []
    for frozen in (False, True):
        inputs = hidden.clone().requires_grad_()
        linear_cross_entropy(inputs, head.clone().requires_grad_(not frozen), labels).backward()
        gradients.append(inputs.grad)
    assert torch.equal(*gradients)


def test_under_autocast_only_products_are_in_16_bits():
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(40, 16, generator=draw, requires_grad=True)
    head = torch.randn(50, 16, generator=draw, requires_grad=True)
    labels = torch.randint(0, 50, (40,), generator=draw)
    labels[:30:2] = IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_cross_entropy(hidden, head, labels)
    expected = by_logits(hidden, head, labels, 0.0)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-2)
    found, wanted = (torch.autograd.grad(loss, (hidden, head)) for loss in (ours, expected))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, theirs, atol=2e-2 * theirs.abs().max().item())


def test_rows_without_labels_cost_nothing():
    hidden = torch.randn(4, 8, requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.randn(10, 8, requires_grad=True), torch.full((4,), IGNORED), 0.1)
    loss.backward()
    assert loss.item() == 0 and not hidden.grad.any()


GROWTH = """
import resource
import torch
from models.losses import linear_cross_entropy
hidden, head = torch.randn(4096, 8, requires_grad=True), torch.randn(128_000, 8, requires_grad=True)
labels = torch.zeros(4096, dtype=torch.int64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
linear_cross_entropy(hidden, head, labels).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_a_large_vocabulary_never_has_all_its_logits():
    """128k entries and 4,096 positions are 2 GB of fp32 logits; a process grows by less than half of that."""
    project = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", GROWTH], env=os.environ | {"PYTHONPATH": str(project)}, capture_output=True, check=True
    )
    assert int(done.stdout) < 4096 * 128_000 * 4 / 2
