import json
import shutil

import numpy as np
import pytest

from models.engine import OnnxSession, SelfCheckFailed
from tests import tiny


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(8, 500, shape)


def test_a_prompt_read_in_chunks_gives_the_same_logits_bit_for_bit(session):
    tokens = ids(1, 40)
    whole = session.forward(tokens, np.array([0]))[0, -1].copy()
    for first, last in ((0, 7), (7, 8), (8, 40)):
        logits = session.forward(tokens[:, first:last], np.array([first]))[0, -1]
    assert np.array_equal(whole, logits)


def test_rows_of_different_lengths_come_out_as_if_alone_bit_for_bit(session):
    lengths = [3, 17, 64, 9]
    prompts = [ids(1, length, seed=length) for length in lengths]
    token = np.array([[11]])
    alone = []
    for prompt, length in zip(prompts, lengths, strict=True):
        session.forward(prompt, np.array([0]))
        alone.append(session.forward(token, np.array([length]))[0, 0].copy())
    for slot, prompt in enumerate(prompts):
        session.forward(prompt, np.array([0]), slot)
    together = session.forward(np.repeat(token, 4, 0), np.array(lengths))[:, 0]
    assert np.array_equal(together, alone)


def test_a_moved_sequence_goes_on_unchanged(session):
    prompt, token = ids(1, 12), np.array([[5]])
    session.forward(prompt, np.array([0]), 3)
    session.move(3, 0, 12)
    moved = session.forward(token, np.array([12]), 0).copy()
    assert np.array_equal(moved, session.forward(token, np.array([12]), 3))


def test_what_does_not_fit_is_refused(session):
    with pytest.raises(ValueError, match="do not fit"):
        session.forward(ids(1, session.length + 1), np.array([0]))
    with pytest.raises(ValueError, match="do not fit"):
        session.forward(ids(session.slots + 1, 1), np.zeros(session.slots + 1, int))


def test_a_directory_without_a_graph_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="quantize"):
        OnnxSession(tmp_path)


def test_a_graph_that_misses_its_reference_is_refused(tmp_path):
    model = shutil.copytree(tiny.int4_model(), tmp_path / "model")
    reference = {"tokens": [10, 20, 30, 40], "log_probs": [-99.0, -99.0, -99.0], "tolerance": 0.1}
    (model / "selfcheck.json").write_text(json.dumps(reference))
    with pytest.raises(SelfCheckFailed, match="nats off"):
        OnnxSession(model, slots=1)
