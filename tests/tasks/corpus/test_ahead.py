"""Items made ahead of their use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.corpus.ahead import ahead


def test_the_items_come_in_order() -> None:
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []
    assert list(ahead([None, 0])) == [None, 0]


def test_what_making_an_item_raises_comes_after_those_before_it() -> None:
    def broken() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("the third")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the third"):
        for item in ahead(broken()):
            seen.append(item)
    assert seen == [1, 2]
