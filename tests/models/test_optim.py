"""Learning-rate schedules and who trains what."""

import pytest
import torch

from models.lm import Architecture, build
from models.optim import hidden_matrices, optimizers, schedule


def small():
    return build(Architecture(320, 32, 2, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=0)


def test_wsd_rises_holds_and_falls_to_nothing():
    factor = schedule("wsd", steps=100, warmup=0.1, decay=0.4)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(50) == factor(60) == 1.0
    assert factor(80) == pytest.approx(0.5)
    assert factor(99) == pytest.approx(1 / 40)


def test_cosine_falls_from_the_warm_up_to_its_floor():
    factor = schedule("cosine", steps=100, warmup=0.0, decay=0.0, floor=0.1)
    assert factor(0) == 1.0
    assert factor(50) == pytest.approx(0.55)
    assert factor(100) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["wsd", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_rate_is_never_nothing_before_the_end_and_never_above_its_peak(name, steps):
    factor = schedule(name, steps, warmup=0.03, decay=0.4)
    assert all(0 < factor(step) <= 1 for step in range(steps))


def test_muon_takes_hidden_matrices_and_adamw_all_else():
    model = small()
    muon, adamw = optimizers(model, "muon", lr=1e-3, matrix_lr=2e-2)
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert id(model.get_input_embeddings().weight) in rest
    assert id(model.model.layers[0].mlp.up_proj.weight) in taken
    assert taken.isdisjoint(rest) and len(taken | rest) == len(list(model.parameters()))


def test_frozen_parameters_are_nobodys():
    model = small()
    for parameter in model.model.layers.parameters():
        parameter.requires_grad = False
    matrices, others = hidden_matrices(model)
    assert not matrices
    assert {p.shape for p in others} == {torch.Size([320, 32]), torch.Size([32])}
