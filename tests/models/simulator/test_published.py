"""The simulator against the published figures that three of its constants were calibrated on, none of them per figure.

GEMM_EFFICIENCY by the two of a single node, NETWORK_EFFICIENCY by the hybrid ones of several, JITTER by all: so this is
how well one set of physical parameters fits 48 figures at once, not a forecast of figures never seen.
"""

import pytest

from tests.models.simulator.internevo import CHECKPOINTED, FEW_MICRO_BATCHES, SCALING, TENSOR_PARALLEL, predicted


@pytest.mark.parametrize("point", SCALING)
def test_the_sixteen_points_of_plain_and_hybrid_sharding(point):
    *job, published = point
    assert predicted(*job).tokens_per_gpu == pytest.approx(published, rel=0.15)


@pytest.mark.parametrize("point", TENSOR_PARALLEL + CHECKPOINTED + FEW_MICRO_BATCHES)
def test_other_tensor_sizes_micro_batches_and_checkpointing(point):
    *job, published = point
    assert predicted(*job).tokens_per_gpu == pytest.approx(published, rel=0.15)


def test_over_all_published_points_it_is_nearer_than_that():
    points = SCALING + TENSOR_PARALLEL + CHECKPOINTED + FEW_MICRO_BATCHES
    errors = sorted(abs(predicted(*job).tokens_per_gpu / published - 1) for *job, published in points)
    assert errors[len(errors) // 2] < 0.04


def test_hybrid_sharding_keeps_most_of_its_speed_at_1024_gpus_and_plain_sharding_does_not():
    """The published efficiencies are 88.9% and 55.9%."""
    hybrid, plain = (
        predicted(1, zero1, 1024, 2, 4, False).tokens_per_gpu / predicted(1, zero1, 8, 2, 4, False).tokens_per_gpu
        for zero1 in (8, -1)
    )
    assert 0.84 < hybrid < 0.94
    assert 0.5 < plain < 0.62


def test_utilisation_is_of_the_peak_and_counts_useful_work_only():
    plain, recomputed = predicted(1, 8, 8, 2, 4, False), predicted(1, 8, 8, 2, 4, True)
    assert 0.5 < plain.mfu < 0.62  # 4,078 tokens at 43 GFLOP each are 56% of 312 TFLOP/s
    assert recomputed.mfu < plain.mfu
