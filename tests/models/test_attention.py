"""Attention in blocks says what torch's own says, forward and backward, within documents."""

import pytest
import torch
import torch.nn.functional as F

from models.attention import BLOCK, PackedAttention, documents, use_packed_attention, visible
from models.lm import Architecture, Batch, build, logits, next_token_loss
from models.probe import Leak, check_isolation


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


KINDS = ("internlm3", "qwen3", "mistral", "gemma2", "gpt_oss", "mixtral", "gpt2")


def of_kind(kind):
    return build(Architecture(64, 32, 2, 4, 2, 48, 64, kind=kind), bos_id=0, eos_id=2, pad_id=3, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_network_sees_the_future_or_another_document(kind):
    model, plain = of_kind(kind).eval(), of_kind(kind).eval()
    use_packed_attention(model)
    ids = torch.randint(4, 60, (1, 16), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(9), torch.arange(7)])[None]
    with torch.no_grad():
        packed = logits(model, ids, positions)
        alone = [plain(part).logits for part in (ids[:, :9], ids[:, 9:])]
    assert torch.allclose(packed, torch.cat(alone, 1), atol=1e-5)
    check_isolation(model)


def test_windows_narrower_than_a_row_stay_as_narrow():
    model = of_kind("mistral").eval()
    model.config.sliding_window = 4
    ids = torch.randint(4, 60, (1, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids).logits
        assert torch.allclose(logits(model, ids, torch.arange(16)[None]), expected, atol=1e-5)
        model.config.sliding_window = 64
        assert not torch.allclose(model(ids).logits, expected, atol=1e-5)


def test_a_network_whose_state_runs_through_the_row_is_found_out():
    with pytest.raises((Leak, RuntimeError, TypeError)):
        check_isolation(of_kind("mamba"))


def test_a_network_that_looks_ahead_is_found_out():
    model = of_kind("llama")
    model.set_attn_implementation("sdpa")
    for layer in model.model.layers:
        layer.register_forward_pre_hook(
            lambda _, given, named: (given, named | {"attention_mask": torch.ones(1, 1, 16, 16, dtype=torch.bool)}),
            with_kwargs=True,
        )
    with pytest.raises(Leak, match="change with those behind"):
        check_isolation(model)
