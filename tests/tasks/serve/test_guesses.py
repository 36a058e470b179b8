"""Guessing ahead is quicker at times and never changes an answer."""

import httpx
import pytest

from tasks.errors import StageError
from tasks.serve.settings import checked
from tests.serving import serving
from tests.tasks.serve.test_load import LONG

REPEATING = [[9, 10, 11, 12] * 5, [20, 21] * 9, list(range(30, 60)) * 2]


@pytest.mark.parametrize("slots", [2, 8])
def test_answers_are_the_same_with_and_without_guesses(slots):
    said, guessed = [], []
    for guess in (0, 8):
        with serving(slots=slots, guess=guess) as (url, service):
            asks = [LONG | {"prompt": p, "temperature": 0, "max_tokens": 120, "ignore_eos": True} for p in REPEATING]
            said.append([httpx.post(f"{url}/v1/completions", json=ask).json()["choices"] for ask in asks])
            guessed.append(service.engine.scheduler.guessed_right)
    assert said[0] == said[1]
    assert guessed[0] == 0 < guessed[1]


def test_guesses_that_could_change_answers_are_refused():
    with pytest.raises(StageError, match="when drafts is on"):
        checked({"guess": 4, "slots": 16})
    assert checked({"guess": 4, "slots": 16, "drafts": "on"}).takes_drafts
    assert not checked({"slots": 16}).takes_drafts
