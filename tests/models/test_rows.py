"""Each rank reads its own rows of a step, and together they have all of them."""

from types import SimpleNamespace

import pytest
import torch

from models.lm import IGNORED, Batch
from models.mesh import Mesh
from models.parallel import Alone, Parallel
from models.rows import Rows

LENGTH = 8


def row_batch(numbers):
    """Rows whose ids tell their number."""
    ids = torch.tensor(numbers)[:, None] * LENGTH + torch.arange(LENGTH)
    return Batch(ids, ids % 5, ids)


def rank(mesh, *coordinate):
    """Its place in a mesh, without the other processes."""
    made = object.__new__(Parallel)
    made.mesh, made.grid = mesh, SimpleNamespace(get_coordinate=lambda: coordinate)
    made.whole_rows = mesh.context * mesh.tensor == 1
    return made


@pytest.mark.parametrize(("count", "size", "passes"), [(8, 4, 1), (16, 2, 2), (6, 2, 1), (2, 2, 1)])
def test_four_ranks_read_a_quarter_each_and_what_lacks_bears_no_loss(count, size, passes):
    read, seen, labelled = [], [], []

    def reading(numbers):
        read.extend(numbers)
        return row_batch(numbers)

    mesh = Mesh(replicate=2, shard=2)
    for place in range(4):
        read.clear()
        batches = rank(mesh, *divmod(place, 2), 0, 0).share(Rows(count, size, reading))
        assert len(batches) == passes and len({len(batch.input_ids) for batch in batches[:-1]}) <= 1
        assert len(read) == sum(len(batch.input_ids) for batch in batches) == -(-count // 4)
        seen += [number // LENGTH for batch in batches for number in batch.input_ids[:, 0].tolist()]
        labelled += [label for batch in batches for label in batch.labels.flatten().tolist() if label != IGNORED]
    assert set(seen) == set(range(count))
    assert sorted(labelled) == list(range(count * LENGTH))


def test_stretches_of_a_row_are_shared_without_the_rest_of_it():
    mesh = Mesh(context=2, tensor=2)
    parts = [rank(mesh, 0, 0, *divmod(place, 2)).share([row_batch([0, 1]), row_batch([2])]) for place in range(4)]
    first, second = ([part[number].input_ids for part in parts] for number in (0, 1))
    assert torch.equal(torch.cat(first, 1), row_batch([0, 1]).input_ids)
    assert torch.equal(torch.cat(second, 1), row_batch([2]).input_ids)
    assert all(part.untyped_storage().nbytes() == part.nbytes for part in (*first, *second))


def test_one_process_reads_the_micro_batches_as_they_are():
    found = Alone().share(Rows(5, 2, row_batch))
    assert [batch.input_ids[:, 0].tolist() for batch in found] == [[0, LENGTH], [2 * LENGTH, 3 * LENGTH], [4 * LENGTH]]
    assert torch.equal(Rows.of(found).padded([4, 5]).labels[0], found[2].labels[0])
