import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.engine.lookup import Lookup
from models.engine.prefix import BLOCK, PrefixCache

prompts = st.lists(st.lists(st.integers(0, 1), max_size=5 * BLOCK), min_size=1, max_size=12)


def values(prompt):
    """Stands for keys and values: what a position holds is the token there."""
    return lambda start, end: np.array(prompt[start:end]).reshape(1, 1, -1, 1)


@given(prompts, st.integers(0, 8 * BLOCK))
def test_what_is_found_belongs_to_the_prompt_and_memory_is_bounded(prompts, capacity):
    cache = PrefixCache(capacity)
    for prompt in prompts:
        known = [int(token) for block in cache.match(prompt) for token in block.ravel()]
        assert known == prompt[: len(known)]
        assert not prompt or len(known) < len(prompt)
        cache.insert(prompt, values(prompt))
        assert cache.positions <= capacity


def test_a_prefix_is_shared_and_the_least_used_end_goes_first():
    cache = PrefixCache(3 * BLOCK)
    common, left, right = [1] * BLOCK, [2] * BLOCK, [3] * BLOCK
    for prompt in (common + left, common + right):
        cache.insert(prompt, values(prompt))
    assert cache.positions == 3 * BLOCK
    cache.match([*common, *left, 0])
    cache.insert([4] * BLOCK, values([4] * BLOCK))
    assert len(cache.match([*common, *left, 0])) == 2
    assert len(cache.match([*common, *right, 0])) == 1


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 8))
def test_guesses_are_what_followed_before(tokens, most):
    lookup = Lookup(tokens, most)
    guessed = lookup.guess(most)
    assert len(guessed) <= most
    if guessed:
        text = ",".join(map(str, tokens))
        assert ",".join(map(str, [*tokens[-2:], *guessed])) in text


def test_what_was_used_last_is_forgotten_last_however_much_goes():
    cache = PrefixCache(7 * BLOCK)
    hot, cold = [1] * (3 * BLOCK), [2] * (3 * BLOCK)
    for prompt in (cold, [*hot, *[3] * BLOCK], [*hot, 0]):
        cache.insert(prompt, values(prompt))
    cache.match([*cold, 0])
    cache.match([*hot, 0])  # the branch behind it is now the oldest, then all of `cold`, and `hot` was used last
    cache.shrink(3 * BLOCK)
    assert (len(cache.match([*hot, 0])), len(cache.match([*cold, 0]))) == (3, 0)
