"""Checkpoints outlive kills, other numbers of processes and other meshes; the best and the newest are kept."""

import json
import time
from contextlib import closing

import pytest
import torch

from models import checkpoint, checkpoints
from models.lm import outline
from models.mesh import Mesh
from models.optim import optimizers
from tests.processes import run, start
from tests.training import learner, trained

HYBRID, TENSOR = Mesh(2, 2, parameter_shard=2), Mesh(shard=2, tensor=2, parameter_shard=2)


def weights(subject):
    return {name: parameter.detach().clone() for name, parameter in subject.model.named_parameters()}


def saved(root, step, keep=2):
    subject = learner(None, 10)
    save(subject, root, step, keep)
    return subject


def save(subject, root, step, keep=2, curve=()):
    with closing(checkpoint.Saver(root, keep)) as saver:
        saver.save(step, subject.model, subject.updates, {"curve": list(curve)})


def test_counts_of_steps_are_restored_to_the_parameters_device(tmp_path, monkeypatch):
    """Fused AdamW refuses others on a GPU; tensors on the meta device stand for one, which no file can fill."""
    subject = learner(None, 10)
    for parameter in subject.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for made in subject.updates:
        made.step()
    save(subject, tmp_path, 1)
    model = outline(subject.model.config)
    made = optimizers(model, "muon", lr=1e-2, matrix_lr=0.02)
    monkeypatch.setattr("torch.distributed.checkpoint.load", lambda *_, **__: None)
    checkpoint.restore(tmp_path, model, made)
    found = [state["step"] for state in made[-1].state.values()]
    assert found and all(step.device.type == "meta" for step in found)


def test_a_checkpoint_without_its_record_is_none(tmp_path):
    saved(tmp_path, 1)
    saved(tmp_path, 2)
    (tmp_path / "step-000000002" / checkpoints.RECORD).unlink()  # killed just before the end
    assert checkpoints.steps(tmp_path) == [1]
    assert saved(tmp_path, 2) and checkpoints.steps(tmp_path) == [1, 2]


def test_the_best_outlives_the_newest(tmp_path):
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5)):
        saved(tmp_path, step, keep=1)
        checkpoints.score(tmp_path, step, loss)
    saved(tmp_path, 5, keep=1)
    assert checkpoints.steps(tmp_path) == [2, 5]
    assert checkpoints.best(tmp_path) == 2


def test_nothing_is_pickled(tmp_path):
    saved(tmp_path, 1)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert all(name.endswith((".safetensors", ".json")) for name in names), names


def test_any_fsspec_url_will_do():
    root = "memory://bucket/run"
    subject = saved(root, 3)
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.add_(1)
    subject_saved = weights(subject)
    save(subject, root, 4, keep=1, curve=[1])
    assert checkpoints.steps(root) == [4]
    other = learner(None, 10)
    assert checkpoint.restore(root, other.model, other.updates) == {"step": 4, "curve": [1]}
    assert all(torch.equal(value, subject_saved[name]) for name, value in weights(other).items())


def test_a_checkpoint_of_another_model_is_refused_with_what_differs(tmp_path):
    from models.lm import Architecture

    saved(tmp_path, 1)
    other = learner(None, 10, architecture=Architecture(96, 32, 2, 4, 2, 64, 64))
    with pytest.raises(checkpoint.Mismatch, match=r"step-000000001 is of intermediate_size 48 \(this run: 64\)"):
        checkpoint.restore(tmp_path, other.model, other.updates)


def test_a_checkpoint_of_another_optimizer_is_refused_and_changes_nothing(tmp_path):
    saved(tmp_path, 1)
    other = learner(None, 10, optimizer="adamw")
    with pytest.raises(checkpoint.Mismatch, match=r"optimizers \['Muon', 'AdamW'\] \(this run: \['AdamW'\]\)"):
        checkpoint.restore(tmp_path, other.model, other.updates)
    assert not any(made.state for made in other.updates)


def test_a_checkpoint_with_other_weights_than_the_model_is_refused(tmp_path):
    saved(tmp_path, 1)
    other = learner(None, 10)
    projection = other.model.model.layers[0].mlp.down_proj
    projection.weight = torch.nn.Parameter(torch.zeros(32, 64))
    made = optimizers(other.model, "muon", lr=1e-2, matrix_lr=0.02)
    with pytest.raises(checkpoint.Mismatch, match=r"mlp\.down_proj\.weight is \[32, 48\], the model's is \[32, 64\]"):
        checkpoint.restore(tmp_path, other.model, made)


def test_what_is_saved_in_the_background_is_what_was_there_then(tmp_path):
    subject, saver = learner(None, 10), checkpoint.Saver(tmp_path, keep=2)
    before = weights(subject)
    saver.save(1, subject.model, subject.updates, {"curve": []})
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.zero_()
    saver.close()
    other = learner(None, 10)
    checkpoint.restore(tmp_path, other.model, other.updates)
    assert all(torch.equal(value, before[name]) for name, value in weights(other).items())


def test_what_fails_in_the_background_is_raised_by_the_next_save(tmp_path):
    (tmp_path / "file").write_text("in the way")
    subject, saver = learner(None, 10), checkpoint.Saver(tmp_path / "file", keep=2)
    saver.save(1, subject.model, subject.updates, {"curve": []})
    with pytest.raises(OSError, match="file"):
        saver.save(2, subject.model, subject.updates, {"curve": []})


def close(curve, expected):
    assert [loss for loss, _ in curve] == pytest.approx([loss for loss, _ in expected], rel=1e-4)
    assert len(curve) == len(expected)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(0, None, tmp_path_factory.mktemp("whole"), 8)


@pytest.mark.slow
def test_stopped_on_one_mesh_and_resumed_on_others_is_the_same_run(tmp_path, uninterrupted):
    """Four processes, then two, then one, then four with split matrices; never the same sharding twice."""
    root = tmp_path / "checkpoints"
    run(trained, 4, tmp_path / "a", HYBRID, root, 8, 2, 2)
    assert checkpoints.steps(root) == [0, 2]
    run(trained, 2, tmp_path / "b", Mesh(context=2, parameter_shard=2), root, 8, 4, 2)
    trained(0, None, root, 8, 6, 2)
    assert checkpoints.steps(root) == [4, 6]
    for curve in run(trained, 4, tmp_path / "c", TENSOR, root, 8, 0, 2):
        close(curve, uninterrupted)


@pytest.mark.slow
def test_ranks_of_one_machine_share_what_they_fetch_from_elsewhere(tmp_path, uninterrupted):
    root, mesh = f"elsewhere://{tmp_path}/checkpoints", Mesh(shard=2, parameter_shard=2)
    run(trained, 2, tmp_path / "a", mesh, root, 8, 2, 2)
    for curve in run(trained, 2, tmp_path / "b", mesh, root, 8, 0, 2):
        close(curve, uninterrupted)


@pytest.mark.slow
def test_one_rank_killed_and_all_started_again_in_another_number_is_the_same_run(tmp_path, uninterrupted):
    root = tmp_path / "checkpoints"
    processes, _ = start(trained, 2, tmp_path / "first", Mesh(shard=2, parameter_shard=2), root, 8, 0, 1)
    while not checkpoints.steps(root) or checkpoints.steps(root)[-1] < 3:
        assert all(process.is_alive() for process in processes), "the run ended before it could be killed"
        time.sleep(0.01)
    processes[1].kill()  # SIGKILL
    processes[1].join()
    processes[0].kill()  # what torchrun does with the others
    processes[0].join()
    reached = checkpoints.steps(root)[-1]
    assert 3 <= reached < 8
    assert json.loads((root / f"step-{reached:09d}" / checkpoints.RECORD).read_text())["step"] == reached
    for curve in run(trained, 4, tmp_path / "second", HYBRID, root, 8, 0, 1):
        close(curve, uninterrupted)
