"""Worker processes forked from one that has imported and loaded already what each of them needs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

PRELOADED = ["__main__", "tasks.corpus.preloaded"]
LARGE = 4 << 20  # bytes of input that are worth a second process


def worker_context() -> ForkServerContext:
    """Where worker processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # of no effect on a server that runs already
    return context


def start_early(inputs: Iterable[Path], workers: int) -> None:
    """Let the server load while this process reads its input, where there will be workers: it takes seconds."""
    if workers > 1 and sum(path.stat().st_size for path in inputs if path.is_file()) > LARGE:
        worker_context()
        forkserver.ensure_running()
