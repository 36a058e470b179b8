"""Work shared by processes: all of it done, or an error that says what ended it."""

import multiprocessing
import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from tasks.errors import StageError
from tasks.processes import in_workers


def _double(number: int) -> int:
    return 2 * number


def _refuse(number: int) -> int:
    raise ValueError(f"not {number}")


def _vanish(_number: int) -> int:
    os._exit(9)


class Picky(Exception):
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what}: {why}")


def _refuse_pickily(_number: int) -> int:
    raise Picky("it", "so")


@pytest.fixture
def run():
    context = multiprocessing.get_context("forkserver")
    return lambda work: sorted(in_workers(work, range(5), 2, context))


def test_all_items_are_done(run):
    assert run(_double) == [0, 2, 4, 6, 8]


def test_what_an_item_raises_comes_back(run):
    with pytest.raises(ValueError, match="not"):
        run(_refuse)


def test_an_error_that_cannot_come_back_is_not_taken_for_want_of_memory(run):
    with pytest.raises(BrokenProcessPool) as caught:
        run(_refuse_pickily)
    assert "required positional argument: 'why'" in str(caught.value.__cause__)


def test_a_worker_that_the_system_ends_is_told_in_words(run):
    with pytest.raises(StageError, match="memory is short"):
        run(_vanish)
