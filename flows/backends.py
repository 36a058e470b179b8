"""`fullchain serve --backend`: the model leaves for a GPU engine's own image, in the format that it loads."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from flows.names import nearest
from tasks.errors import StageError
from tasks.quantize.export import export
from tasks.serve.backends import BACKENDS, check, run
from tasks.serve.server import warn_if_open
from tasks.serve.settings import Settings


def serve_elsewhere(backend: str, package: Path, settings: Settings, gpus: int) -> int:
    """Export the model and serve it in the engine's image until it ends; the container's exit status.

    Raises:
        StageError: no such backend, or what it needs is not here, or a setting that it would not heed.
    """
    if backend not in BACKENDS:
        raise StageError(f"serve: no backend {backend!r}; {nearest(backend, ['ours', *BACKENDS])}")
    check(backend, settings, gpus)
    warn_if_open(settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an end that ends the container, too
    with tempfile.TemporaryDirectory(prefix="fullchain-export-") as folder:
        exported = Path(folder, "model")
        export(package, BACKENDS[backend].export, exported)
        return run(backend, exported, settings, gpus)
