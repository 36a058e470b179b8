"""A worker that trains step by step when it is told to, so that two trainers can take turns on one machine.

The worker writes one JSON line when it has done what it was told, and reads how many steps to do next.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


class Gate:
    """Call `step_done` after every step; it returns when the next one may begin. `measure` is not on the clock."""

    def __init__(self, measure: Callable[[], dict[str, Any]]) -> None:
        self.measure = measure
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no answer
        self._wait({})

    def step_done(self) -> None:
        """A step has ended."""
        self.left -= 1
        if self.left == 0:
            clocks = time.perf_counter() - self.began, time.process_time() - self.worked
            self._wait({"seconds": clocks[0], "cpu_seconds": clocks[1], **self.measure()})

    def _wait(self, facts: dict[str, Any]) -> None:
        self.out.write(json.dumps(facts) + "\n")
        self.out.flush()
        order = sys.stdin.readline().strip()
        if not order:
            os._exit(0)
        self.left, self.began, self.worked = int(order), time.perf_counter(), time.process_time()
