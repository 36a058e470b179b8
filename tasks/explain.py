"""Why a stage will run: a field-level difference against the nearest earlier artifact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tasks.artifact import Artifact
from tasks.key import Recipe, canonical

_MISSING = object()


@dataclass(frozen=True)
class Differences:
    """`own` are differences of the stage itself (config, code, libraries); `inputs` those of what it is fed."""

    own: tuple[str, ...]
    inputs: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.own) + len(self.inputs)


def against_nearest(wanted: Recipe, earlier: Iterable[Artifact]) -> Differences | None:
    """Differences to the artifact with the fewest of them (the newest of those), or None when there is none."""
    return min((differences(wanted, artifact.recipe) for artifact in earlier), key=len, default=None)


def differences(wanted: Recipe, had: Recipe) -> Differences:
    """What changed from one recipe to another, in words. An input yet to be built counts as no difference."""
    config = [f"{name} {_show(a)} -> {_show(b)}" for name, a, b in _changes(had.config, wanted.config)]
    libraries = [f"{name} {_show(a)} -> {_show(b)}" for name, a, b in _changes(had.libraries, wanted.libraries)]
    code = [_module_change(name, a, b) for name, a, b in _changes(had.code, wanted.code)]
    inputs = [
        f"input {role} changed"
        if a is not _MISSING and b is not _MISSING
        else f"input {role} {'added' if a is _MISSING else 'removed'}"
        for role, a, b in _changes(had.inputs, wanted.inputs)
        if b is not None
    ]
    return Differences((*config, *libraries, *code), tuple(inputs))


def _changes(had: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for name in sorted(had.keys() | wanted.keys()):
        a, b = had.get(name, _MISSING), wanted.get(name, _MISSING)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _changes(a, b, f"{prefix}{name}.")
        elif a is _MISSING or b is _MISSING or canonical(a) != canonical(b):
            found.append((f"{prefix}{name}", a, b))
    return found


def _module_change(name: str, had: Any, wanted: Any) -> str:
    path = name if "/" in name else name.replace(".", "/") + ".py"
    if name == "contract":
        return f"contract version {_show(had)} -> {_show(wanted)}"
    return f"code: {path}{' (new)' if had is _MISSING else ' (gone)' if wanted is _MISSING else ''}"


def _show(value: Any) -> str:
    text = "(none)" if value is _MISSING else value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
