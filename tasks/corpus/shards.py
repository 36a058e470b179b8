"""Run a datatrove pipeline over shards in worker processes, resumed after kills; a failing shard fails the run."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy

from datatrove.executor.local import LocalPipelineExecutor

from tasks.corpus.forking import worker_context
from tasks.processes import in_workers

QUIET = 1  # datatrove prints the log of local rank 0 only


class ShardExecutor(LocalPipelineExecutor):
    """datatrove's local executor with another pool: it tells of progress, begins no shard after a failure, and its
    workers end with the process that started them (the stock one leaves its manager process behind after SIGKILL)."""

    def __init__(
        self, pipeline: list, shards: int, workers: int, logging_dir: str, done: Callable[[int], None]
    ) -> None:
        super().__init__(pipeline, tasks=shards, workers=workers, logging_dir=logging_dir)
        self._done = done

    def run(self) -> None:
        """Run the shards that are not finished. Raises what a shard raised first, once those under way have ended."""
        waiting = self.get_incomplete_ranks()
        self._done(self.tasks - len(waiting))
        workers = min(self.workers, len(waiting))
        if workers <= 1:
            for rank in waiting:
                copy(self).run_fresh(rank)
                self._done(1)
            return
        done, self._done = self._done, ignore  # the callback stays here; the pipeline travels to the workers
        for _ in in_workers(self.run_fresh, waiting, workers, worker_context()):
            done(1)

    def run_fresh(self, rank: int) -> None:
        """Run one shard on blocks of its own, as their statistics are per shard."""
        self.pipeline = deepcopy(self.pipeline)
        self._run_for_rank(rank, QUIET)


def ignore(_shards: int) -> None:
    """Stands for the callback where a pipeline travels to workers."""
