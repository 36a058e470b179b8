"""Compiled kernels over arrays of code points: segmentation, counting, hashing. numba brings its own compiler.

The machine code is kept beside the byte code, in a folder named after the digest of these sources. numba alone would
watch each file by itself and go on with stale code of a kernel that calls an edited one in another file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from tasks.store import home


def _cache() -> Path:
    """Where machine code is kept; under the home where this folder cannot be written."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(here.glob("*.py")):
        digest.update(file.read_bytes())
    above = here / "__pycache__" if os.access(here, os.W_OK) else home() / "cache"
    return above / f"native-{digest.hexdigest()[:16]}"


numba.config.CACHE_DIR = str(_cache())


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of numbers and arrays at its first call; later processes load what was compiled."""
    return numba.njit(cache=True, nogil=True)(function)


def code_points(text: str) -> np.ndarray:
    """uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).copy()  # read-only ones compile anew


def as_text(codes: np.ndarray) -> str:
    """The text of code points."""
    return codes.tobytes().decode("utf-32-le", "surrogatepass")
