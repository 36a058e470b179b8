"""Every mesh trains as one process does, up to the order of additions; and needs the memory and bytes foretold."""

from dataclasses import replace

import pytest

from models.lm import Architecture
from models.mesh import Mesh
from models.simulator.job import FSDP2, Job
from models.simulator.search import assess
from models.simulator.shape import Shape
from tests.models.simulator.internevo import cluster
from tests.processes import run
from tests.training import LENGTH, many_with, measured, trained

pytestmark = pytest.mark.slow

TWO = {
    "ddp": Mesh(replicate=2),
    "fsdp": Mesh(shard=2, parameter_shard=2),
    "zero1": Mesh(shard=2),
    "tensor": Mesh(tensor=2),
    "context": Mesh(context=2, parameter_shard=2),
}
FOUR = {
    "hybrid 2x2": Mesh(2, 2, parameter_shard=2),
    "hybrid zero1 2x2": Mesh(2, 2),
    "tensor x fsdp 2x2": Mesh(shard=2, tensor=2, parameter_shard=2),
    "context x tensor 2x2": Mesh(context=2, tensor=2),
    "fsdp 4, weights over 2": Mesh(shard=4, parameter_shard=2),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(0, None, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    two = run(many_with, 2, tmp_path_factory.mktemp("two"), TWO, tmp_path_factory.mktemp("2"), {})
    four = run(many_with, 4, tmp_path_factory.mktemp("four"), FOUR, tmp_path_factory.mktemp("4"), {})
    assert all(found == two[0] for found in two) and all(found == four[0] for found in four)  # on every rank
    return two[0] | four[0]


@pytest.mark.parametrize("name", [*TWO, *FOUR])
def test_losses_and_gradient_norms_are_those_of_one_process(alone, curves, name):
    """fp32; Muon rounds to bf16, in which sums in another order now and then fall on the other side."""
    for (loss, norm), (expected_loss, expected_norm) in zip(curves[name], alone, strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert norm == pytest.approx(expected_norm, rel=2e-3)
    assert curves[name][0][0] == pytest.approx(alone[0][0], rel=1e-6)
    assert curves[name][0][1] == pytest.approx(alone[0][1], rel=1e-5)


def test_with_adamw_alone_they_agree_to_a_few_units_in_the_last_place(tmp_path):
    meshes = {name: TWO[name] for name in ("fsdp", "tensor")}
    (found, _) = run(many_with, 2, tmp_path / "run", meshes, tmp_path / "runs", {"optimizer": "adamw"})
    alone = trained(0, None, tmp_path / "alone", optimizer="adamw")
    for curve in found.values():
        assert [loss for loss, _ in curve] == pytest.approx([loss for loss, _ in alone], rel=1e-5)


def test_activations_computed_again_change_nothing(tmp_path):
    meshes = {name: TWO[name] for name in ("fsdp", "tensor")}
    found, _ = run(many_with, 2, tmp_path / "run", meshes, tmp_path / "runs", {"steps": 3, "recompute": True})
    kept, _ = run(many_with, 2, tmp_path / "run", meshes, tmp_path / "kept", {"steps": 3})
    assert found == kept


def test_compiled_layers_change_nothing_but_last_bits(tmp_path):
    """Each layer by itself, within FSDP's hooks; the forward pass that tries the compiler leaves no trace."""
    meshes = {name: TWO[name] for name in ("ddp", "fsdp")}
    made, _ = run(many_with, 2, tmp_path / "run", meshes, tmp_path / "runs", {"steps": 3, "compiled": True})
    eager, _ = run(many_with, 2, tmp_path / "run", meshes, tmp_path / "eager", {"steps": 3})
    for name in meshes:
        assert [loss for loss, _ in made[name]] == pytest.approx([loss for loss, _ in eager[name]], rel=1e-4)


def test_in_bf16_they_agree_to_its_precision(tmp_path):
    meshes = {name: TWO[name] for name in ("fsdp", "tensor")}
    (found, _) = run(many_with, 2, tmp_path / "run", meshes, tmp_path / "runs", {"bf16": True})
    alone = trained(0, None, tmp_path / "alone", bf16=True)
    for curve in found.values():
        assert [loss for loss, _ in curve] == pytest.approx([loss for loss, _ in alone], rel=4e-3)


WIDER = Architecture(512, 128, 3, 4, 2, 256, 64, tie_embeddings=False)
MEASURED_TWO = {name: TWO[name] for name in ("ddp", "fsdp", "zero1", "tensor", "context")}
MEASURED_FOUR = {name: FOUR[name] for name in ("hybrid 2x2", "hybrid zero1 2x2", "tensor x fsdp 2x2")}


@pytest.fixture(scope="module")
def measurements(tmp_path_factory):
    two = run(measured, 2, tmp_path_factory.mktemp("m2"), MEASURED_TWO, WIDER)
    four = run(measured, 4, tmp_path_factory.mktemp("m4"), MEASURED_FOUR, WIDER)
    return {name: [found[name] for found in two] for name in MEASURED_TWO} | {
        name: [found[name] for found in four] for name in MEASURED_FOUR
    }


def _predicted(mesh, recompute=False):
    w = WIDER
    shape = Shape(w.hidden_size, w.layers, w.heads, w.kv_heads, w.intermediate_size, w.vocab_size)
    rows = 8 // mesh.data
    micro_batch = min(4, rows)
    scheme = replace(FSDP2, weight_bytes=4, activation_bytes=4, scatter_by_all_reduce=True)
    return assess(
        Job(shape, LENGTH, micro_batch, rows // micro_batch, mesh, recompute, "muon", scheme), cluster(mesh.ranks)
    )


@pytest.mark.parametrize("name", [*MEASURED_TWO, *MEASURED_FOUR])
def test_bytes_on_the_wire_are_those_that_the_simulator_foretells(measurements, name):
    """Counted by the kernel on every TCP connection of every rank."""
    mesh = (TWO | FOUR)[name]
    counted = sum(sent for sent, _, _ in measurements[name]) / mesh.ranks
    assert counted == pytest.approx(sum(_predicted(mesh).step.bytes_sent.values()), rel=0.05)


def test_layers_computed_again_send_their_collectives_again(tmp_path):
    meshes = {name: TWO[name] for name in ("tensor", "context")}
    found = run(measured, 2, tmp_path, meshes, WIDER, True)
    for name, mesh in meshes.items():
        counted = sum(rank[name][0] for rank in found) / 2
        assert counted == pytest.approx(sum(_predicted(mesh, True).step.bytes_sent.values()), rel=0.05)


@pytest.mark.parametrize("name", [*MEASURED_TWO, *MEASURED_FOUR])
def test_memory_per_rank_falls_as_foretold(measurements, name):
    """Master weights and moments; the simulator counts them together, as ZeRO's paper does."""
    mesh = (TWO | FOUR)[name]
    held = max(weights + states for _, weights, states in measurements[name])
    assert held == pytest.approx(_predicted(mesh).memory.states, rel=0.02)
