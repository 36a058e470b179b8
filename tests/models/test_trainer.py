"""The training loop: it learns, resumes to the same bytes, and says where it broke."""

from contextlib import closing

import pytest
import torch

from models.checkpoint import Saver, restore
from models.checkpoints import steps
from models.learner import Learner
from models.lm import Architecture, Batch, build
from models.objectives import LanguageModelling, should_compile
from models.optim import optimizers, schedule
from models.recorder import Hooks, Loop
from models.trainer import train


def learner(steps_planned, lr=1e-2, objective=None):
    model = build(Architecture(64, 32, 2, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=0)
    factor = schedule("wsd", steps_planned, 0.1, 0.5)
    made = optimizers(model, "muon", lr=lr, matrix_lr=0.02)
    return Learner(model, objective or LanguageModelling(), made, factor, clip=1.0)


def batches(step):
    ids = (torch.arange(17)[None] + torch.arange(4)[:, None] + step) % 60 + 4
    positions = torch.arange(16).expand(4, 16)
    return [Batch(ids[half : half + 2, :-1], positions[:2], ids[half : half + 2, 1:]) for half in (0, 2)]


def weights(subject):
    return {name: parameter.detach().clone() for name, parameter in subject.model.named_parameters()}


def test_it_learns_a_sequence(tmp_path):
    subject = learner(40)
    curve = train(subject, batches, Loop(40, threads=1, bf16=False, log_every=1), tmp_path, Hooks())
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5
    assert [point["step"] for point in curve] == list(range(1, 41))


def test_stopped_and_resumed_is_the_same_as_uninterrupted(tmp_path):
    loop = Loop(12, threads=1, bf16=True, log_every=2, checkpoint_every=5)
    whole = learner(12)
    curve = train(whole, batches, loop, tmp_path / "whole", Hooks())

    class Stop(Exception):
        pass

    def stop_at_eight(step):
        if step == 8:
            raise Stop
        return batches(step)

    with pytest.raises(Stop):
        train(learner(12), stop_at_eight, loop, tmp_path / "stopped", Hooks())
    assert steps(tmp_path / "stopped") == [0, 5]
    resumed, told = learner(12), []
    again = train(resumed, batches, loop, tmp_path / "stopped", Hooks(point=lambda step, _: told.append(step)))
    assert again == curve
    assert told == [2, 4, 6, 8, 10, 12]
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


def test_a_finished_run_is_not_run_again(tmp_path):
    loop = Loop(3, threads=1, bf16=False, log_every=1)
    curve = train(learner(3), batches, loop, tmp_path, Hooks())

    def nothing(step):
        raise AssertionError("asked for data")

    assert train(learner(3), nothing, loop, tmp_path, Hooks()) == curve


def test_micro_batches_weigh_by_what_they_hold(tmp_path):
    """Two micro-batches of different size step as one batch of both would."""

    def uneven(step):
        whole = batches(step)
        return [whole[0], Batch(*(tensor[:1] for tensor in whole[1]))]

    def joined(step):
        return [Batch(*(torch.cat(pair) for pair in zip(*uneven(step), strict=True)))]

    split, together = learner(1), learner(1)
    loop = Loop(1, threads=1, bf16=False)
    train(split, uneven, loop, tmp_path / "a", Hooks())
    train(together, joined, loop, tmp_path / "b", Hooks())
    assert split.latest["loss"] == pytest.approx(together.latest["loss"], rel=1e-5)
    assert split.latest["gradient_norm"] == pytest.approx(together.latest["gradient_norm"], rel=1e-4)


def test_validation_is_measured_at_the_end_and_where_asked(tmp_path):
    hooks = Hooks(validate=lambda model: {"seen": float(model.training)})
    curve = train(learner(6), batches, Loop(6, threads=1, bf16=False, log_every=100, validate_every=4), tmp_path, hooks)
    assert [(point["step"], point["seen"]) for point in curve] == [(4, 0.0), (6, 0.0)]


def test_a_measure_that_fails_costs_no_step(tmp_path):
    def broken(model):
        raise ArithmeticError("no measure")

    loop = Loop(6, threads=1, bf16=False, log_every=1, validate_every=3, checkpoint_every=50)
    with pytest.raises(ArithmeticError, match="no measure"):
        train(learner(6), batches, loop, tmp_path, Hooks(validate=broken))
    assert steps(tmp_path) == [0, 3]
    mended = Hooks(validate=lambda _: {"seen": 1.0})
    curve = train(learner(6), batches, loop, tmp_path, mended)
    assert [point["step"] for point in curve if "seen" in point] == [3, 6]


def test_without_a_compiler_that_works_it_trains_eagerly_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/c++",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    subject, plain = learner(2, objective=LanguageModelling(compiled=True)), learner(2)
    loop = Loop(2, threads=1, bf16=False, log_every=1)
    curve = train(subject, batches, loop, tmp_path / "tried", Hooks())
    assert "torch.compile does not work here" in caplog.text
    assert curve == train(plain, batches, loop, tmp_path / "plain", Hooks())


def test_a_checkpoint_holds_every_bit_and_only_the_newest_are_kept(tmp_path):
    subject = learner(4)
    train(subject, batches, Loop(4, threads=1, bf16=False), tmp_path / "run", Hooks())
    with closing(Saver(tmp_path / "kept", keep=2)) as saver:
        for step in (1, 2, 3):
            saver.save(step, subject.model, subject.updates, {"curve": []})
    assert steps(tmp_path / "kept") == [2, 3]
    other = learner(4)
    assert restore(tmp_path / "kept", other.model, other.updates)["step"] == 3
    for ours, theirs in zip(subject.updates, other.updates, strict=True):
        mine, copied = ours.state_dict()["state"], theirs.state_dict()["state"]
        assert mine.keys() == copied.keys()
        for position, state in mine.items():
            assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(copied[position][k])) for k, v in state.items())


def test_short_runs_are_not_compiled_and_never_means_never():
    model = learner(1).model
    assert not should_compile("auto", model, tokens=10_000)
    assert not should_compile("never", model, tokens=10**12)
