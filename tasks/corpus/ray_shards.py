"""The same shards as Ray tasks, for many machines that share the storage of the state folder."""

from __future__ import annotations

from tasks.corpus.shards import ShardExecutor, ignore
from tasks.ray_tasks import on_ray


class RayShardExecutor(ShardExecutor):
    """`ShardExecutor` whose shards run wherever Ray has a processor free; the bytes are those of local processes."""

    def run(self) -> None:
        """Run the shards that are not finished. Raises what a shard raised."""
        waiting = self.get_incomplete_ranks()
        self._done(self.tasks - len(waiting))
        done, self._done = self._done, ignore  # the callback stays here; the pipeline travels to the workers
        for _ in on_ray(self.run_fresh, waiting, self.workers):
            done(1)
