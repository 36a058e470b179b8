import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ngram import Trigram

SIZE = 6
documents = st.lists(st.lists(st.integers(1, SIZE - 1), max_size=8), min_size=1, max_size=30)


def joined(texts):
    return np.array([token for text in [*texts, []] for token in (0, *text)])


@given(documents, st.lists(st.integers(0, SIZE - 1), max_size=3))
def test_probabilities_of_all_next_tokens_sum_to_one(texts, context):
    trigram = Trigram(joined(texts), SIZE, separator=0)
    total = sum(np.exp(trigram.log_probs(np.array([0, *context, token]))[-1]) for token in range(SIZE))
    assert total == pytest.approx(1)


def test_what_was_seen_is_likelier_than_what_was_not():
    trigram = Trigram(joined([[1, 2, 3]] * 20 + [[2, 4]]), SIZE, separator=0)
    seen, other, never = (trigram.log_probs(np.array([0, 1, 2, token]))[-1] for token in (3, 4, 5))
    assert seen > other > never > -np.inf


def test_nothing_is_learnt_across_documents():
    ends_differ = [Trigram(joined([[1, end], [3]] * 9), SIZE, separator=0) for end in (2, 4)]
    first = [trigram.log_probs(np.array([0, 3]))[0] for trigram in ends_differ]
    assert first[0] == pytest.approx(first[1])
