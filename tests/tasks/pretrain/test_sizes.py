"""Sizes by name: networks of about so many parameters, as published, and what they imply for training."""

import pytest

from models.simulator.shape import Shape
from tasks.pretrain import PretrainConfig
from tasks.pretrain.sizes import SIZES

PARAMETERS = {"7M": 7e6, "60M": 60e6, "300M": 300e6, "1.8B": 1.8e9, "8B": 8e9}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_size_has_about_the_parameters_of_its_name(name):
    cfg = PretrainConfig(size=name)
    shape = Shape(
        cfg.hidden_size, cfg.layers, cfg.heads, cfg.kv_heads, cfg.intermediate_size, SIZES[name].vocabulary,
        cfg.tie_embeddings,
    )  # fmt: skip
    assert shape.parameters == pytest.approx(PARAMETERS[name], rel=0.15)
    assert cfg.tokens == pytest.approx(20 * shape.parameters, rel=0.01)


def test_the_largest_is_internlm3_8b():
    cfg = PretrainConfig(size="8B")
    found = (cfg.hidden_size, cfg.layers, cfg.heads, cfg.kv_heads, cfg.intermediate_size, cfg.tie_embeddings)
    assert found == (4096, 48, 32, 2, 10_240, False)


def test_larger_networks_learn_slower_from_larger_batches():
    made = [PretrainConfig(size=name) for name in PARAMETERS]
    rates, batches = [cfg.optimizer.lr for cfg in made], [cfg.batch_tokens for cfg in made]
    assert rates == sorted(rates, reverse=True) and batches == sorted(batches)


def test_what_is_given_is_not_overruled():
    cfg = PretrainConfig(size="7M", tokens=1000, optimizer={"lr": 0.5})
    assert (cfg.tokens, cfg.optimizer.lr) == (1000, 0.5)
    assert cfg.hidden_size == 256 and cfg.optimizer.matrix_lr == PretrainConfig(size="7M").optimizer.matrix_lr
