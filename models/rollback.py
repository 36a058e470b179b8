"""Going back after an anomaly, and on without the data that came with it.

A step whose loss or gradient is not finite, or a spike, is never followed: the run goes back to its last good
checkpoint and on without that step's data (Chowdhery et al. 2022, PaLM, section 5.1, did so by hand). Which data were
left out lies beside the checkpoints before the next attempt begins, so kills change nothing of the result.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models import checkpoints
from models.guard import Anomaly, Bounds
from models.parallel import Alone

Event = dict[str, Any]

FILE = "events.json"


class Diverged(ArithmeticError):
    """One more anomaly than the rollbacks allowed; `checkpoint` is the last step safe on disk."""

    def __init__(self, anomaly: Anomaly, last: int, rollbacks: int) -> None:
        super().__init__(f"{anomaly}, after {rollbacks} rollbacks; last checkpoint: step {last}")
        self.anomaly, self.checkpoint, self.rollbacks = anomaly, last, rollbacks


def events(folder: Path | str) -> list[Event]:
    """What happened to the run whose checkpoints lie in `folder`, in order."""
    return checkpoints.read(folder, FILE) or []


def roll_back(folder: Path | str, anomaly: Anomaly, bounds: Bounds, parallel: Alone) -> Event:
    """Drop the checkpoints behind the first offending step, and note which data the next attempt goes without.

    Each further rollback drops twice the data steps of the one before, in case the trouble began earlier. Every rank
    must call it; all come to the same event before the first one acts.

    Raises:
        Diverged: as many rollbacks as allowed are behind us.
    """
    past, saved = events(folder), checkpoints.steps(folder)
    if len(past) >= bounds.rollbacks:
        raise Diverged(anomaly, saved[-1], len(past)) from anomaly
    first = max(saved[0], anomaly.step - bounds.skip * 2 ** len(past) + 1)
    event = {
        "step": anomaly.step,
        "measure": anomaly.measure,
        "value": str(anomaly.value),
        "limit": str(anomaly.limit),
        "skipped_data_steps": [_data_step(step, past) for step in range(first, anomaly.step + 1)],
    }
    parallel.meet()
    if parallel.rank == 0:
        checkpoints.drop_after(folder, first)
        checkpoints.write(folder, FILE, [*past, event])
    parallel.meet()
    return event


def without_skipped(
    micro_batches: Callable[[int], Sequence[Any]], folder: Path | str
) -> Callable[[int], Sequence[Any]]:
    """The data of each step when those that the events name are left out."""
    past = events(folder)
    return lambda step: micro_batches(_data_step(step, past))


def _data_step(step: int, past: list[Event]) -> int:
    for skipped in sorted(number for event in past for number in event["skipped_data_steps"]):
        step += skipped <= step
    return step
