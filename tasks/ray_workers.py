"""Ray, and whether it can start workers here."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.code import PROJECT
from tasks.errors import StageError


def require_plain_path() -> None:
    """Raise StageError where Ray's workers would never start: it splits their command at blanks (Ray 2.60)."""
    if len(sys.executable.split()) > 1:
        raise StageError(
            f"Ray starts no workers below a path with a blank: {sys.executable}; expected a path without one; move the "
            "project, or use one process, or several on one machine without Ray (parallel.nodes 1)"
        )


@contextmanager
def ray_started(processors: int) -> Iterator[Any]:
    """Ray, on the cluster at RAY_ADDRESS or else on this machine with so many processors; ended if it began here."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ours = not ray.is_initialized()
    if ours:
        alone = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": processors}
        runtime = {"env_vars": {"PYTHONPATH": str(PROJECT)}}
        ray.init(include_dashboard=False, runtime_env=runtime, log_to_driver=False, **alone)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
