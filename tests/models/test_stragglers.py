"""Which rank holds up the others."""

from models.stragglers import stragglers


def test_ranks_alike_have_no_straggler():
    assert stragglers([100, 97, 103, 92], [0.01, 0.0, 0.05, 0.02]) == {}


def test_a_throttled_device_and_a_starved_rank_are_named_with_the_reason():
    found = stragglers([100, 60, 103, 99], [0.0, 0.01, 0.01, 0.4])
    assert found == {
        1: "multiplies at 60% of the median rank's speed",
        3: "waits for its data 40% of the time, the median rank 1%",
    }


def test_of_two_the_slower_one():
    assert list(stragglers([100, 40], [0.0, 0.0])) == [1]
