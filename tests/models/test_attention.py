"""Attention in blocks says what torch's own says, forward and backward, within documents."""

import pytest
import torch
import torch.nn.functional as F

from models.attention import BLOCK, PackedAttention, documents, use_packed_attention, visible
from models.lm import Architecture, Batch, build, next_token_loss


@pytest.mark.parametrize("length", [5, BLOCK, 2 * BLOCK + 17])
def test_it_equals_masked_attention_and_its_gradients(length):
    draw = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(2, 3, length, 8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(3))
    positions = torch.arange(length).expand(2, length).clone()
    positions[1] %= 1 + length // 2  # the second row holds several documents
    numbers = documents(positions)
    ours = PackedAttention.apply(q, k, v, numbers, 0.3)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=visible(numbers), scale=0.3)
    weights = torch.randn(ours.shape, generator=draw, dtype=torch.float64)
    assert torch.allclose(ours, expected, atol=1e-6)
    found = torch.autograd.grad((ours * weights).sum(), (q, k, v))
    wanted = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(found, wanted, strict=True))


def test_a_network_with_it_has_the_same_loss_and_gradients():
    ids = torch.randint(4, 60, (2, 40), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(25), torch.arange(15)]).expand(2, 40)
    batch = Batch(ids, positions, ids.roll(-1, 1))
    results = []
    for packed in (True, False):
        model = build(Architecture(64, 32, 2, 4, 2, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=0)
        assert not packed or use_packed_attention(model)
        loss = next_token_loss(model, batch)
        loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    assert all(torch.allclose(ours, theirs, atol=2e-5) for ours, theirs in zip(*results, strict=True))


def test_models_that_attend_otherwise_keep_their_own_attention():
    model = build(Architecture(64, 32, 2, 4, 2, 48, 64, kind="mistral"), bos_id=0, eos_id=2, pad_id=3, seed=0)
    assert model.config.sliding_window and not use_packed_attention(model)
