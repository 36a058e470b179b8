"""Planted spikes and NaN: the run goes back, leaves their data out, and ends where a clean run ends."""

import math
from dataclasses import replace

import pytest
import torch

from models.guard import Anomaly, Bounds, Guard
from models.mesh import Mesh
from models.recorder import Hooks, Loop, Stopped
from models.rollback import Diverged, events
from models.trainer import train
from tests.models.test_trainer import batches, learner, weights
from tests.processes import run
from tests.training import damaged

STEPS = 40


def planted(at, damage):
    """Data whose step `at` is damaged."""

    def micro_batches(step):
        whole = batches(step)
        return [damage(batch) for batch in whole] if step == at else whole

    return micro_batches


def nonsense(batch):
    """Labels that nothing in the data prepares for."""
    return batch._replace(labels=torch.full_like(batch.labels, 63))


def sick(model, batch):
    from models.objectives import LanguageModelling

    loss, count, seen = LanguageModelling()(model, batch)
    return loss * (math.nan if (batch.labels == 3).any() else 1), count, seen


def nothing(batch):
    return batch._replace(labels=torch.full_like(batch.labels, 3))


LOOP = Loop(STEPS, threads=1, bf16=False, log_every=1, checkpoint_every=7, bounds=Bounds(loss_rise=1.5))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return train(learner(STEPS), batches, LOOP, tmp_path_factory.mktemp("clean"), Hooks())


def test_the_model_stays_on_its_device_from_attempt_to_attempt(tmp_path, monkeypatch):
    """Else the root of sharded weights, which is no part of Lightning's module, keeps those from before."""

    def moved(*_):
        raise AssertionError("the model was moved")

    monkeypatch.setattr("models.learner.Learner.cpu", moved)
    monkeypatch.setattr("models.learner.Learner.to", moved)
    curve = train(learner(6, objective=sick), planted(4, nothing), replace(LOOP, steps=6), tmp_path, Hooks())
    assert len(events(tmp_path)) == 1 and curve[-1]["step"] == 6


@pytest.mark.parametrize(("damage", "measure"), [(nonsense, "loss"), (nothing, "loss")], ids=["spike", "nan"])
def test_the_run_goes_on_without_the_damaged_data_and_ends_like_a_clean_one(tmp_path, clean, damage, measure):
    told = []
    curve = train(learner(STEPS, objective=sick), planted(25, damage), LOOP, tmp_path, Hooks(event=told.append))
    assert [(event["step"], event["measure"], event["skipped_data_steps"]) for event in told] == [(25, measure, [25])]
    assert events(tmp_path) == told
    assert [point["step"] for point in curve] == list(range(1, STEPS + 1))
    assert [point["loss"] for point in curve[:25]] == [point["loss"] for point in clean[:25]]
    assert curve[-1]["loss"] == pytest.approx(clean[-1]["loss"], rel=0.1)


def test_killed_after_a_rollback_it_ends_with_the_same_weights(tmp_path):
    whole = learner(STEPS, objective=sick)
    data = planted(25, nothing)
    curve = train(whole, data, LOOP, tmp_path / "whole", Hooks())

    class Kill(Exception):
        pass

    def until_thirty(step):
        if step == 32:
            raise Kill
        return data(step)

    with pytest.raises(Kill):
        train(learner(STEPS, objective=sick), until_thirty, LOOP, tmp_path / "killed", Hooks())
    again = learner(STEPS, objective=sick)
    assert train(again, data, LOOP, tmp_path / "killed", Hooks()) == curve
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(again).items())


def test_where_checkpoints_lie_does_not_change_the_result(tmp_path):
    data = planted(25, nothing)
    often = Loop(STEPS, threads=1, bf16=False, log_every=1, checkpoint_every=3)
    rarely = Loop(STEPS, threads=1, bf16=False, log_every=1, checkpoint_every=100)
    curves = [
        train(learner(STEPS, objective=sick), data, loop, tmp_path / str(n), Hooks())
        for n, loop in enumerate((often, rarely))
    ]
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [Mesh(shard=2, parameter_shard=2), Mesh(tensor=2)], ids=["fsdp", "tensor"])
def test_all_ranks_roll_back_when_one_sees_the_damage(tmp_path, mesh):
    losses, told = damaged(0, None, tmp_path / "alone", 6)
    assert [(event["step"], event["measure"], event["skipped_data_steps"]) for event in told] == [(6, "loss", [6])]
    for theirs, events_told in run(damaged, 2, tmp_path / "processes", mesh, tmp_path / "together", 6):
        assert theirs == pytest.approx(losses, rel=1e-3)
        assert events_told == told


def test_damage_without_end_stops_the_run_after_the_allowed_rollbacks(tmp_path):
    def all_damaged(step):
        return [nothing(batch) for batch in batches(step)] if step >= 9 else batches(step)

    with pytest.raises(Diverged) as caught:
        train(learner(STEPS, objective=sick), all_damaged, LOOP, tmp_path, Hooks())
    assert caught.value.rollbacks == 3
    assert len(events(tmp_path)) == 3


def test_a_falling_noisy_loss_is_no_spike():
    guard = Guard(Bounds())
    draw = torch.Generator().manual_seed(0)
    for step in range(500):
        noise = torch.randn(2, generator=draw)
        guard.check(step, 2 + 6 * math.exp(-step / 50) + 0.15 * noise[0].item(), math.exp(0.5 * noise[1].item()))


def test_one_large_gradient_among_small_ones_is_a_spike():
    guard = Guard(Bounds())
    for step in range(20):
        guard.check(step, 2.0, 1.0 + step % 3 / 10)
    with pytest.raises(Anomaly) as caught:
        guard.check(20, 2.0, 50.0)
    assert (caught.value.measure, caught.value.value) == ("gradient_norm", 50.0)


def test_sigterm_saves_the_step_and_leaves(tmp_path):
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM)

    def terminated(step):
        if step == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return batches(step)

    with pytest.raises(Stopped) as caught:
        train(learner(STEPS), terminated, LOOP, tmp_path, Hooks())
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    resumed, whole = learner(STEPS), learner(STEPS)
    from models.checkpoints import steps

    assert steps(tmp_path)[-1] == caught.value.step
    curve = train(resumed, batches, LOOP, tmp_path, Hooks())
    assert curve == train(whole, batches, LOOP, tmp_path / "whole", Hooks())
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())
