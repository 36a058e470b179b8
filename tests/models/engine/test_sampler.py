import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engine.sampler import Sampler, Sampling, candidates

rows = st.lists(st.floats(-20, 20, width=16), min_size=2, max_size=60).map(np.array)


@given(rows)
def test_temperature_zero_takes_the_likeliest(logits):
    assert logits[Sampler(Sampling(temperature=0), []).choose(logits).token] == logits.max()


@given(rows, st.integers(1, 70))
def test_top_k_keeps_the_k_likeliest(logits, k):
    kept, _ = candidates(logits, Sampling(top_k=k))
    assert len(kept) == min(k, len(logits))
    assert sorted(logits[kept]) == sorted(logits)[-len(kept) :]


@given(rows, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_holds_the_mass(logits, top_p):
    probabilities = np.exp(logits - np.logaddexp.reduce(logits))
    kept, _ = candidates(logits, Sampling(top_p=top_p))
    mass = probabilities[kept].sum()
    assert mass >= top_p - 1e-9
    assert mass - probabilities[kept].min() < top_p + 1e-9
    outside = np.delete(probabilities, kept)
    assert not len(outside) or outside.max() <= probabilities[kept].min() + 1e-12


@given(rows, st.floats(0.01, 1))
def test_min_p_is_relative_to_the_likeliest(logits, min_p):
    kept, weights = candidates(logits, Sampling(min_p=min_p))
    assert logits.argmax() in kept
    assert weights.min() >= min_p * weights.max()


@given(rows, st.floats(0.1, 2), st.integers(0, 20), st.floats(0.05, 1), st.floats(0, 0.9), st.integers(0, 2**32))
def test_a_seed_fixes_the_draw_and_draws_stay_among_the_candidates(logits, temperature, top_k, top_p, min_p, seed):
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    first, again = (Sampler(sampling, []) for _ in range(2))
    drawn = [first.choose(logits).token for _ in range(5)]
    assert drawn == [again.choose(logits).token for _ in range(5)]
    assert set(drawn) <= set(candidates(logits, sampling)[0])


def test_draws_follow_the_softmax():
    logits = np.log([0.5, 0.3, 0.2])
    sampler = Sampler(Sampling(seed=1), [])
    shares = np.bincount([sampler.choose(logits).token for _ in range(20_000)], minlength=3) / 20_000
    assert np.abs(shares - [0.5, 0.3, 0.2]).max() < 0.015


def test_repetition_penalty_weakens_tokens_of_the_prompt_and_of_the_answer():
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), prompt=[0])
    logits = np.array([3.0, 2.0, 1.2])
    assert [sampler.choose(logits).token for _ in range(3)] == [1, 0, 0]


def test_frequency_penalty_grows_with_each_use():
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=1.0), prompt=[0])
    assert [sampler.choose(np.array([2.5, 1.0])).token for _ in range(4)] == [0, 0, 1, 0]


def test_log_probs_are_of_the_unchanged_model_and_sorted():
    choice = Sampler(Sampling(temperature=0.1, seed=0, log_probs=2), []).choose(np.log([0.2, 0.7, 0.1]))
    assert choice.token == 1
    assert choice.log_prob == pytest.approx(np.log(0.7))
    assert [token for token, _ in choice.alternatives] == [1, 0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("top_p", 0), ("top_k", -1), ("min_p", 2), ("repetition_penalty", 1e-300), ("stop", ("",))],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})


def test_presence_penalty_counts_an_answered_token_once_and_no_prompt():
    sampler = Sampler(Sampling(temperature=0, presence_penalty=1.0), prompt=[0])
    logits = np.array([3.0, 2.5, 0.0])
    assert [sampler.choose(logits).token for _ in range(4)] == [0, 1, 0, 0]
