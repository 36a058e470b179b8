"""Which process holds up the others. In synchronous training all ranks take as long as the slowest."""

from collections.abc import Sequence
from statistics import median

SLOW = 0.8
"""A device whose matrix product runs at less than this part of the median rank's is slow."""

WAITING = 0.1
"""A rank that waits for data so much larger a share of its time than the median rank does is held up by its data."""


def stragglers(gemm: Sequence[float], data_wait: Sequence[float]) -> dict[int, str]:
    """Rank -> why; from each rank's speed of one matrix product and share of time spent waiting for data.

    The products are each rank's own, without communication, so a slow rank is not seen in the others' readings.
    """
    usual_speed, usual_wait = median(gemm), median(data_wait)
    found: dict[int, str] = {}
    for rank, (speed, wait) in enumerate(zip(gemm, data_wait, strict=True)):
        if speed < SLOW * usual_speed:
            found[rank] = f"multiplies at {speed / usual_speed:.0%} of the median rank's speed"
        elif wait > usual_wait + WAITING:
            found[rank] = f"waits for its data {wait:.0%} of the time, the median rank {usual_wait:.0%}"
    return found
