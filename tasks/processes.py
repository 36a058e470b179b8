"""Worker processes on this machine."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import TypeVar

from tasks.errors import StageError

T = TypeVar("T")
R = TypeVar("R")


def in_workers(work: Callable[[T], R], items: Sequence[T], workers: int, context: BaseContext) -> Iterator[R]:
    """What `work` makes of the items, as they are done; after a failure no more are begun than are handed out already.

    The workers end with the process that started them, however it went.

    Raises:
        StageError: a worker was ended from outside.
        BrokenProcessPool: what `work` returned or raised cannot be unpickled here; its cause says why.
        Whatever `work` raised first, once what was under way has ended.
    """
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            running = [pool.submit(work, item) for item in items]
            for finished in as_completed(running):
                yield finished.result()
        except BrokenProcessPool as problem:
            if problem.__cause__ is not None:
                raise
            raise StageError(
                "a worker process was ended from outside, as the system does when memory is short; expected it to "
                "finish; free some memory, or set fewer workers or threads, and run again"
            ) from problem
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
