"""How many tokens a step sees: accumulation, a batch in tokens, and a batch that grows."""

import pytest

from tasks.pretrain import PretrainConfig
from tasks.pretrain.data import Stream, steps_of
from tests.tasks.pretrain.test_pretrain import inputs  # noqa: F401 (a fixture)


@pytest.mark.parametrize(
    ("settings", "micro_batches"),
    [
        ({"accumulation": 3}, 3),
        ({"batch_tokens": 1000}, 2),  # of 512 tokens each
        ({"batch_tokens": 10}, 1),
        ({"batch_tokens": 1300, "accumulation": 7}, 3),
        ({"size": "7M", "accumulation": 8}, 8),
        ({"size": "7M", "accumulation": 8, "batch_tokens": 1024}, 2),
    ],
)
def test_a_step_has_the_micro_batches_that_were_asked_for(settings, micro_batches):
    assert PretrainConfig(**settings, micro_batch=16).micro_batches(seq_len=32) == micro_batches


def test_the_batch_grows_evenly_to_its_full_size_and_no_micro_batch_is_lost():
    sizes = steps_of(micro_batches=100, accumulation=8, ramp=0.3)
    assert sum(sizes) in range(100, 108)
    assert sizes == sorted(sizes) and sizes[0] == 1 and sizes[-1] == 8
    before = sum(size for size in sizes if size < 8)
    assert 20 <= before <= 30
    assert steps_of(100, 8, 0.0) == [8] * 13


def test_a_growing_batch_reads_the_same_windows_in_the_same_order(inputs):  # noqa: F811
    stream = Stream(inputs["tokens"], "train", separator=0)
    grown = stream.training(micro_batch=2, accumulation=4, seed=1, tokens=2000, ramp=0.5)
    even = stream.training(micro_batch=2, accumulation=4, seed=1, tokens=2000)
    assert grown.steps > even.steps
    assert len(grown(0)) == 1 and len(grown(grown.steps - 1)) == 4 == len(grown(grown.steps + 3))

    def read(data, count):
        return [row for step in range(data.steps) for batch in data(step) for row in batch.input_ids.tolist()][:count]

    assert read(grown, 60) == read(even, 60)
    assert grown.tokens == sum(batch.input_ids.numel() for step in range(grown.steps) for batch in grown(step))
