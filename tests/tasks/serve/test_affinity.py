"""Requests whose prompts begin alike go to one replica, unless it has too much to do."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tasks.serve.affinity import Affinity


def body(text: str, **fields) -> bytes:
    return json.dumps({"model": "tiny", "prompt": text} | fields).encode()


def test_prompts_that_begin_alike_go_together():
    affinity, shared = Affinity(3, margin=2), "x" * 2000
    first = affinity.choose(body(shared + "one"))
    affinity.running[first] = 2
    assert affinity.choose(body(shared + "two")) == first
    other = affinity.choose(body("something else " * 50))
    assert other != first
    assert affinity.choose(body(shared + "three")) == first


def test_a_replica_with_too_much_to_do_is_left_alone_and_another_learns_the_prompt():
    affinity, shared = Affinity(2, margin=2), "x" * 2000
    first = affinity.choose(body(shared))
    affinity.running[first] = 3
    second = affinity.choose(body(shared))
    assert second != first
    affinity.running[first] = 0
    assert affinity.choose(body(shared)) == second


@given(st.lists(st.binary(max_size=40) | st.text(max_size=600).map(body), max_size=30), st.integers(1, 5))
def test_any_body_finds_a_replica_and_load_stays_within_the_margin(bodies, replicas):
    affinity = Affinity(replicas, margin=1)
    for one in bodies:
        affinity.running[affinity.choose(one)] += 1
        assert max(affinity.running) <= min(affinity.running) + 2
