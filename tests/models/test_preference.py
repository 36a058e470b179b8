"""The DPO objective against its formula."""

import math

import pytest
import torch

from models.lm import Architecture, build
from models.packing import Example
from models.preference import Preference, answer_log_probs, pair_batch, preference_loss, with_reference

CHOSEN = [Example([5, 6, 7, 8], [False, False, True, True]), Example([9, 10, 11], [False, True, True])]
REJECTED = [Example([5, 6, 12], [False, False, True]), Example([9, 13, 14, 15], [False, True, True, True])]


def model(seed):
    return build(Architecture(320, 32, 2, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=seed)


def test_loss_by_hand():
    # chosen: -2 against -3 of the reference, rejected: -5 against -4; margin 1 + 1 = 2
    assert preference_loss(torch.tensor(2.0), beta=0.5).item() == pytest.approx(math.log(1 + math.exp(-1.0)))


def test_the_reference_itself_has_no_margin():
    reference = model(0)
    batch = with_reference(reference, pair_batch(CHOSEN, REJECTED, pad=3), bf16=False)
    loss, pairs, seen = Preference(beta=0.1)(reference, batch)
    assert pairs == 2
    assert loss.item() == pytest.approx(2 * math.log(2))
    assert seen["margin"] == 0


@pytest.mark.parametrize("per_token", [False, True])
def test_objective_follows_equation_7(per_token):
    reference, policy = model(0), model(1)
    batch = with_reference(reference, pair_batch(CHOSEN, REJECTED, pad=3), bf16=False)
    with torch.no_grad():
        loss, _, seen = Preference(0.3, imitation=0.2, per_token=per_token)(policy, batch)
        p, r = answer_log_probs(policy, batch).tolist(), batch.reference.tolist()
    tokens = [2, 2, 1, 3] if per_token else [1, 1, 1, 1]
    gains = [(a - b) / n for a, b, n in zip(p, r, tokens, strict=True)]
    expected = 0.0
    for pair, answer in enumerate((2, 2)):
        margin = gains[pair] - gains[pair + 2]
        expected += -math.log(1 / (1 + math.exp(-0.3 * margin))) - 0.2 * p[pair] / answer
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert seen["margin"] == pytest.approx(gains[0] + gains[1] - gains[2] - gains[3], rel=1e-3)


def test_a_pairs_value_does_not_depend_on_its_neighbours_padding():
    one = model(0)
    with torch.no_grad():
        alone = answer_log_probs(one, pair_batch(CHOSEN[1:], REJECTED[:1], pad=3))
        beside = answer_log_probs(one, pair_batch(CHOSEN, REJECTED, pad=3))
    assert torch.allclose(alone, beside[[1, 2]], atol=1e-5)
