"""Attention in blocks says what torch's own says, forward and backward, within documents."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask
from transformers import AutoModelForCausalLM, Phi3Config

from models import attention_flash, attention_flex
from models.attention import BLOCK, LONGEST, PackedAttention, documents, visible
from models.attention_choice import Unusable, mask, use
from models.lm import Architecture, Batch, build, hidden_states, logits, next_token_loss, ready
from models.probe import Leak, check_isolation

CPU = torch.device("cpu")
SMALL = Architecture(64, 64, 2, 4, 2, 48, 64)


def several(length):
    """Positions of two rows [2, T]: one document, and several of a third of the length and what is left."""
    positions = torch.arange(length).expand(2, length).clone()
    positions[1] %= 1 + length // 3
    return positions


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
        if packed:
            assert use(model, "auto", CPU, half=False) == "packed"
        loss = next_token_loss(model, batch)
        loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    assert all(torch.allclose(ours, theirs, atol=2e-5) for ours, theirs in zip(*results, strict=True))


def test_models_that_attend_otherwise_keep_their_own_attention():
    model = build(Architecture(64, 32, 2, 4, 2, 48, 64, kind="mistral"), bos_id=0, eos_id=2, pad_id=3, seed=0)
    assert model.config.sliding_window and use(model, "auto", CPU, half=False) == "sdpa"
    with pytest.raises(Unusable, match="packed: the model attends in a way of its own; expected auto, or sdpa"):
        use(model, "packed", CPU, half=False)


@pytest.mark.parametrize("kernel", ["flash", "flex"])
def test_kernels_of_gpus_are_refused_elsewhere(kernel):
    model = build(SMALL, bos_id=0, eos_id=2, pad_id=3, seed=0)
    with pytest.raises(Unusable, match=f"{kernel}: it needs CUDA, the device is cpu; expected auto, or sdpa"):
        use(model, kernel, CPU, half=True)


@pytest.mark.parametrize("length", [40, 128, 300])
@pytest.mark.parametrize(("first", "queries"), [(0, None), (20, 20)])
def test_a_mask_of_blocks_lets_through_what_a_dense_one_does_and_no_blocks_beside(length, first, queries):
    """Also for a rank's stretch of the queries, against keys of the whole row."""
    numbers = documents(several(length))
    dense = visible(numbers)[:, :, first : None if queries is None else first + queries]
    assert torch.equal(visible(numbers, first, queries), dense)
    ours = attention_flex.block_mask(numbers[:, 0, 0], first, queries)
    wanted = create_block_mask(
        lambda b, _, q, k: dense[b, 0, q, k], 2, None, dense.shape[2], length, device="cpu"
    )  # fmt: skip
    assert torch.equal(ours.to_dense(), wanted.to_dense())
    rows = torch.arange(dense.shape[2]), torch.arange(length)
    seen = ours.mask_mod(torch.arange(2)[:, None, None], torch.tensor(0), rows[0][:, None], rows[1])
    assert torch.equal(seen, dense[:, 0])


@pytest.mark.parametrize("length", [40, 300])
def test_flex_attends_as_packed_does_within_documents_and_for_grouped_queries(length):
    """Forward only: torch has no backward of FlexAttention on CPUs. fp32, sums in another order."""
    positions, results = several(length), []
    ids = torch.randint(4, 60, (2, length), generator=torch.Generator().manual_seed(0))
    for implementation in ("packed", attention_flex.NAME):
        model = build(replace(SMALL, context=512), bos_id=0, eos_id=2, pad_id=3, seed=0)
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            results.append(next_token_loss(model, Batch(ids, positions, ids.roll(-1, 1))))
            results[-1] = torch.stack([results[-1] / 1000, *hidden_states(model, ids, positions).flatten()])
    assert torch.allclose(*results, atol=2e-5)


def test_flash_is_told_where_each_document_of_all_rows_begins():
    positions = torch.tensor([[3, 4, 0, 1, 2], [0, 1, 2, 3, 0]])  # the first row begins within a document
    assert attention_flash.borders(positions).flatten().tolist() == [0, 2, 5, 9, 10]


def one_by_one(q, k, v, ends, _ends, _longest, _keys, scale, window_size, enable_gqa):
    """FlashAttention over sequences of various lengths [tokens, heads, D], which needs a GPU, as plain attention."""
    assert window_size == (-1, 0)
    cut = ends.diff().tolist()
    parts = zip(*(states.transpose(0, 1)[None].split(cut, 2) for states in (q, k, v)), strict=True)
    found = [F.scaled_dot_product_attention(*p, is_causal=True, scale=scale, enable_gqa=enable_gqa) for p in parts]
    return torch.cat(found, 2)[0].transpose(0, 1)


def test_flash_attends_as_sdpa_does_by_borders_found_beforehand(monkeypatch):
    monkeypatch.setattr(attention_flash, "varlen_attn", one_by_one)
    ids = torch.randint(4, 60, (2, 40), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids, several(40), ids.roll(-1, 1))
    model = build(SMALL, bos_id=0, eos_id=2, pad_id=3, seed=0).bfloat16()
    assert ready(model, batch) is batch
    expected = next_token_loss(model, batch)
    model.set_attn_implementation(attention_flash.NAME)
    known = ready(model, batch)
    assert torch.equal(known.borders, attention_flash.borders(batch.position_ids))
    found = next_token_loss(model, known)
    assert torch.equal(found, next_token_loss(model, batch))
    assert found.item() == pytest.approx(expected.item(), rel=1e-2)


def test_long_rows_are_the_fused_kernels_with_one_mask_for_all_layers():
    model = build(replace(SMALL, context=2 * LONGEST), bos_id=0, eos_id=2, pad_id=3, seed=0)
    ids, positions = torch.randint(4, 60, (1, LONGEST + 1)), torch.arange(LONGEST + 1)[None] % 700
    with torch.no_grad():
        plain = hidden_states(model, ids, positions)
        use(model, "auto", CPU, half=False)
        assert mask(model, positions).shape == (1, 1, LONGEST + 1, LONGEST + 1)
        assert torch.equal(hidden_states(model, ids, positions), plain)


KINDS = ("internlm3", "qwen3", "mistral", "gemma2", "gpt_oss", "mixtral", "gpt2", "falcon")


def of_kind(kind):
    return build(Architecture(64, 32, 2, 4, 2, 48, 64, kind=kind), bos_id=0, eos_id=2, pad_id=3, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_network_sees_the_future_or_another_document(kind):
    model, plain = of_kind(kind).eval(), of_kind(kind).eval()
    use(model, "auto", CPU, half=False)
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


def test_trying_a_network_leaves_it_as_it_was_with_what_it_makes_of_itself_only_when_it_runs():
    turns = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0] * 4, "factor": 8.0}
    turns |= {"rope_theta": 10000.0, "original_max_position_embeddings": 8}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    ids = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    model = AutoModelForCausalLM.from_config(
        Phi3Config(**sizes, **ids, max_position_embeddings=64, rope_parameters=turns)
    )

    def tensors():
        return {
            (name, own)
            for name, part in model.named_modules()
            for own in vars(part)
            if torch.is_tensor(vars(part)[own])
        }

    before = tensors()
    check_isolation(model)
    assert tensors() == before
