"""The recommended mesh: possible, fitting, the fastest; and words when there is none."""

import pytest

from models.mesh import ImpossibleMesh, Mesh, Sizes, check
from models.simulator.search import NothingFits, Task, search
from models.simulator.shape import Shape
from tests.models.simulator.internevo import SEVEN_B, cluster

TASK = Task(SEVEN_B, 2048, sequences=2048)


@pytest.mark.parametrize("gpus", [8, 64, 1024, 4096])
def test_the_recommended_mesh_is_possible_fits_and_is_the_fastest(gpus):
    found = search(TASK, cluster(gpus))
    best = found[0]
    check(best.job.mesh, TASK.sizes, gpus)
    assert best.fits
    assert best.memory.total < 80e9
    assert best.job.micro_batch * best.job.accumulation * best.job.mesh.data == TASK.sequences
    assert all(best.step.seconds <= other.step.seconds for other in found)


def test_a_small_model_is_not_split_by_matrices():
    best = search(Task(Shape(768, 12, 12, 12, 2048, 32000, tied=True), 1024, 1024), cluster(8))[0]
    assert best.job.mesh.tensor == 1


def test_long_sequences_are_split_when_they_do_not_fit_otherwise():
    best = search(Task(SEVEN_B, 131_072, sequences=8), cluster(64))[0]
    assert best.job.mesh.context > 1


def test_what_does_not_fit_is_told_with_what_comes_nearest():
    with pytest.raises(NothingFits, match=r"needs \d+\.\d GB per rank of 75\.2 GB"):
        search(Task(Shape(16384, 120, 128, 8, 53248, 128_000), 4096, 64), cluster(8))
    with pytest.raises(NothingFits, match="7 sequences per step"):
        search(Task(SEVEN_B, 2048, sequences=7), cluster(1024))


@pytest.mark.parametrize(
    ("mesh", "processes", "words"),
    [
        (
            Mesh(2, 2),
            8,
            "shard x context x tensor = 2 x 2 x 1 x 1 = 4; expected the number of processes, 8",
        ),
        (Mesh(tensor=3), 3, "tensor = 3; expected a divisor of heads, 8"),
        (Mesh(tensor=4), 4, "tensor = 4; expected a divisor of kv_heads, 2"),
        (Mesh(context=32, tensor=2), 64, "context x tensor = 32 x 2; expected a divisor of the sequence length, 96"),
        (Mesh(3, 2), 6, "replicate x shard = 3 x 2; expected a divisor of the sequences per step"),
        (Mesh(shard=4, parameter_shard=3), 4, "parameter_shard = 3; expected a divisor of shard x context = 4"),
    ],
)
def test_impossible_meshes_are_refused_with_the_product_that_must_hold(mesh, processes, words):
    sizes = Sizes(8, 2, 64, 128, 96, 16)
    with pytest.raises(ImpossibleMesh) as caught:
        check(mesh, sizes, processes)
    assert words in str(caught.value)
