"""Rows of several conversations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lm import IGNORED
from models.packing import Example, pack, packed_batch


@given(st.lists(st.integers(1, 32), max_size=200))
def test_every_item_is_in_one_row_and_no_row_is_overfull(lengths):
    rows = pack(lengths, 32)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in row) <= 32 for row in rows)


def test_an_item_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="item 1 has 9 tokens"):
        pack([3, 9], 8)


def test_only_what_is_to_be_learned_bears_a_label():
    first = Example([10, 11, 12], [False, False, True])
    second = Example([20, 21, 22], [True, False, True])
    batch = packed_batch([[first, second]], 8, pad=3)
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21, 22, 3, 3]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1]]
    none = IGNORED
    assert batch.labels.tolist() == [[none, 12, none, none, 22, none, none, none]]
