import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stage import StageError
from tasks.validation import batches, cut, validation_text
from tests import tiny


@given(st.integers(2, 200), st.integers(4, 50), st.integers(1, 3))
def test_every_token_after_the_first_is_scored_once_in_windows_that_fit(length, window, context):
    document = np.arange(length)
    scored = [w.tokens[1:][w.first :] for w in cut(document, window, context)]
    assert np.concatenate(scored).tolist() == list(range(1, length))
    assert all(len(w.tokens) <= window for w in cut(document, window, context))


def test_batches_hold_every_window_and_score_no_padding():
    windows = cut(np.arange(1, 100), 16, 4) + cut(np.arange(1, 6), 16, 4)
    seen = [targets[scored] for _, targets, scored in batches(windows, 3)]
    expected = np.concatenate([w.tokens[1:][w.first :] for w in windows])
    assert sorted(np.concatenate(seen)) == sorted(expected)


def test_documents_are_taken_evenly_and_whole():
    text = validation_text(tiny.inputs()["tokens"], 300, 64, 8)
    everything = validation_text(tiny.inputs()["tokens"], 10**9, 64, 8)
    assert 1 < text.documents < everything.documents == 24
    assert text.scored < everything.scored
    assert all(window.tokens[0] == 0 for window in text.windows if window.first == 0)


def test_a_context_as_long_as_the_window_is_refused():
    with pytest.raises(StageError, match="context: 64"):
        validation_text(tiny.inputs()["tokens"], 300, 64, 64)
