"""Noticing that a run has stalled."""

import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def watched(seconds: float, report: Path, stalled: Callable[[float], None]) -> Iterator[Callable[[], None]]:
    """Yields `beat`. When it is not called for `seconds`, every thread's stack goes to `report`, once per stall.

    `stalled` is told how long it has been, from the watching thread. 0 seconds: nobody watches.
    """
    last, over = [time.monotonic(), 0.0], threading.Event()

    def beat() -> None:
        last[:] = time.monotonic(), 0.0

    def watch() -> None:
        while not over.wait(min(seconds / 4, 10.0)):
            still = time.monotonic() - last[0]
            if still > seconds and not last[1]:
                last[1] = still
                with report.open("a", encoding="utf-8") as stream:
                    faulthandler.dump_traceback(stream, all_threads=True)
                stalled(still)

    if seconds <= 0:
        yield beat
        return
    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield beat
    finally:
        over.set()
        thread.join()
