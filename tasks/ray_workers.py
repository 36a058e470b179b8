"""Whether Ray can start workers here."""

import sys

from tasks.errors import StageError


def require_plain_path() -> None:
    """Raise StageError where Ray's workers would never start: it splits their command at blanks (Ray 2.60)."""
    if len(sys.executable.split()) > 1:
        raise StageError(
            f"Ray starts no workers below a path with a blank: {sys.executable}; expected a path without one; move the "
            "project, or use one process, or several on one machine without Ray (parallel.nodes 1)"
        )
