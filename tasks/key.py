"""The key of a stage: a hash of everything that can change its result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

KEY_LENGTH = 20  # hexadecimal digits, 80 bits: no collision to be met in a store of millions


@dataclass(frozen=True)
class Recipe:
    """What a stage is made from. `inputs` maps role -> output digest; None stands for an input yet to be built."""

    stage: str
    config: dict[str, Any]
    inputs: dict[str, str | None]
    code: dict[str, str]
    libraries: dict[str, str]

    @property
    def ready(self) -> bool:
        """Whether every input is built, so that the key is known."""
        return None not in self.inputs.values()

    @property
    def key(self) -> str:
        return digest(asdict(self))[:KEY_LENGTH]


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no blanks, no NaN; equal values give equal texts.

    Raises:
        TypeError, ValueError: for what JSON cannot say.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
