"""Work in numbered pieces that Ray spreads over machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from tasks.processes import cores
from tasks.ray_workers import ray_started, require_plain_path

RESTARTS = 2


def on_ray(work: Callable[[int], None], numbers: Sequence[int], workers: int) -> Iterator[int]:
    """`work(number)` for each number as Ray tasks of one processor; yields each number once its task is done.

    workers: tasks under way at once; 0 = two per processor of the cluster, so that none waits for the next. What
    `work` writes must lie on storage that all machines share. A task whose process or machine dies is run again,
    RESTARTS times.

    Raises:
        StageError: Ray cannot start workers here.
        Exception: what a task raised; those not begun are cancelled, those under way may end.
    """
    require_plain_path()
    if not numbers:
        return
    with ray_started(workers or cores()) as ray:
        at_once = workers or 2 * int(ray.cluster_resources().get("CPU", 1))
        task, shared = ray.remote(max_retries=RESTARTS)(_ray_task), ray.put(work)
        waiting, running = iter(numbers), {}
        while True:
            for number in islice(waiting, at_once - len(running)):
                running[task.remote(shared, number)] = number
            if not running:
                return
            (ready, *_), _ = ray.wait(list(running))
            try:
                ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                for left in running:
                    ray.cancel(left)
                raise error.cause from error
            yield running.pop(ready)


def _ray_task(work: Callable[[int], None], number: int) -> None:
    work(number)
