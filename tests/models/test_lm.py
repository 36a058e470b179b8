"""Packed sequences: neighbours do not see each other, and the loss is that of each document alone."""

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from models.attention import documents, visible
from models.lm import IGNORED, Architecture, bits_per_byte, build, label_log_probs, load, next_token_loss
from models.packing import Example, packed_batch

SIZES = {
    "gpt2": {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "opt": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 48,
        "word_embed_proj_dim": 32, "max_position_embeddings": 64},
}  # fmt: skip


def small(seed=0):
    return build(Architecture(320, 32, 2, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=seed)


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_nothing_is_drawn_at_random_while_training(tmp_path, kind):
    """Of both kinds, transformers' defaults have dropout; a model from elsewhere may have it, too."""
    made = build(Architecture(64, 32, 2, 2, 2, 48, 64, kind=kind), bos_id=0, eos_id=2, pad_id=3, seed=0)
    elsewhere = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES[kind]))
    elsewhere.save_pretrained(tmp_path)
    batch = packed_batch([[Example([5, 6, 7, 8], [True] * 4)]], 4, pad=3)
    with torch.no_grad():
        for model in (made, load(tmp_path)):
            model.train()
            assert torch.equal(next_token_loss(model, batch), next_token_loss(model, batch))


def test_attention_is_causal_and_stays_within_a_document():
    mask = visible(documents(torch.tensor([[0, 1, 0, 1, 2]])))[0, 0]
    assert mask.tolist() == [
        [True, False, False, False, False],
        [True, True, False, False, False],
        [False, False, True, False, False],
        [False, False, True, True, False],
        [False, False, True, True, True],
    ]


def test_packed_loss_is_the_sum_of_the_documents_own_losses():
    model = small()
    examples = [Example([5, 6, 7, 8], [True] * 4), Example([9, 10, 11], [True] * 3)]
    packed = packed_batch([examples], 12, pad=3)
    alone = [packed_batch([[example]], len(example.ids), pad=3) for example in examples]
    with torch.no_grad():
        together = next_token_loss(model, packed)
        apart = sum(next_token_loss(model, batch) for batch in alone)
    assert torch.allclose(together, apart, rtol=1e-5)


def test_label_log_probs_are_those_of_the_models_own_distribution():
    model = small()
    batch = packed_batch([[Example([5, 6, 7], [False, True, True])]], 3, pad=3)
    with torch.no_grad():
        ours = label_log_probs(model, *batch)[0]
        theirs = model(torch.tensor([[5, 6, 7]])).logits.log_softmax(-1)[0]
    assert torch.allclose(ours[:2], torch.stack([theirs[0, 6], theirs[1, 7]]), atol=1e-5)
    assert ours[2] == 0 and batch.labels[0, 2] == IGNORED


def test_the_seed_decides_the_weights_and_leaves_other_draws_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second, other = small(1), small(1), small(2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_a_saved_model_comes_back_with_the_same_logits(tmp_path):
    model = small().eval()
    model.save_pretrained(tmp_path)
    ids = torch.arange(10)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, load(tmp_path).eval()(ids).logits)


def test_bits_per_byte_of_a_fair_coin_per_byte_is_one():
    assert bits_per_byte(8 * math.log(2), 8) == 1.0
