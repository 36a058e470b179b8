"""The data of the next steps, read while the present one computes."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AHEAD = 2
"""Steps in the queue: one to compute on next, one being read."""


class Prefetched:
    """The micro-batches of steps `first` to `last`, each read ahead of its use; `waited`: seconds."""

    def __init__(self, micro_batches: Callable[[int], Sequence[Any]], first: int, last: int) -> None:
        self.micro_batches, self.first, self.last = micro_batches, first, last
        self.waited = 0.0

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[Sequence[Any]]:
        with ThreadPoolExecutor(1, "prefetch") as pool:
            queue = deque(
                pool.submit(self.micro_batches, step) for step in range(self.first, min(self.first + AHEAD, self.last))
            )
            for step in range(self.first, self.last):
                asked = time.perf_counter()
                batches = queue.popleft().result()
                self.waited += time.perf_counter() - asked
                if step + AHEAD < self.last:
                    queue.append(pool.submit(self.micro_batches, step + AHEAD))
                yield batches
