"""Items made ahead of their use."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tasks.corpus.ahead import ahead


def test_the_items_come_in_order() -> None:
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []
    assert list(ahead([None, 0])) == [None, 0]


def test_an_item_is_made_while_the_one_before_it_is_in_use_and_no_further_one() -> None:
    begun = [threading.Event() for _ in range(4)]

    def source() -> Iterator[int]:
        for number, event in enumerate(begun):
            event.set()
            yield number

    for item in ahead(source()):
        assert begun[item + 1].wait(60)
        assert not begun[item + 2].is_set()
        if item == 1:
            break
    assert not begun[3].is_set()


def test_what_making_an_item_raises_comes_after_those_before_it() -> None:
    def broken() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("the third")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the third"):
        for item in ahead(broken()):
            seen.append(item)
    assert seen == [1, 2]
