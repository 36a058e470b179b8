import json
import os
import platform
import shutil
from itertools import pairwise

import numpy as np
import pytest

from models.engine import OnnxSession, SelfCheckFailed, int8
from models.engine.session import TILES_OFF
from tests import tiny


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(8, 500, shape)


def test_a_prompt_read_in_chunks_gives_the_same_logits_bit_for_bit(session):
    tokens = ids(1, 40)
    whole = session.forward(tokens, np.array([0]))[0, -1].copy()
    for first, last in ((0, 7), (7, 8), (8, 40)):
        logits = session.forward(tokens[:, first:last], np.array([first]))[0, -1]
    assert np.array_equal(whole, logits)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not int8.is_exact() or TILES_OFF in os.environ,
    reason="no int8 products here, or attention goes tile by tile",
)
def test_attention_computed_whole_does_not_depend_on_chunks_and_is_that_of_tiles(monkeypatch):
    def read(session: OnnxSession, *ends: int) -> np.ndarray:
        logits = [
            session.forward(tokens[:, first:last], np.array([first]), reading=True)[0].copy()
            for first, last in pairwise((0, *ends))
        ]
        return np.concatenate(logits)

    def made(products: str = "int8") -> OnnxSession:
        return OnnxSession(tiny.int4_model(), 1, 700, threads=1, products=products)

    tokens, variables = ids(1, 650), dict(os.environ)
    whole = read(made(), 650)
    assert os.environ == variables
    assert np.array_equal(read(made(), 1, 8, 300, 301, 650), whole)
    monkeypatch.setattr("models.engine.session.WHOLE_SCORES", 0)
    tiles = read(made(), 650)
    assert not np.array_equal(tiles, whole)
    for other, bound in ((tiles, 0.01), (read(made("blockwise"), 650), 0.05)):  # blockwise scales within attention
        assert np.abs(other - whole).mean() < bound * np.abs(whole).mean()


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
