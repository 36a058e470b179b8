"""Stage configuration: frozen pydantic models, and which of their fields bear identity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tasks.errors import StageError
from tasks.files import tree_digest

T = TypeVar("T")


class _Marker:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


NO_IDENTITY = _Marker("bears no identity")
BY_CONTENT = _Marker("identified by its bytes")

Runtime = Annotated[T, NO_IDENTITY]
"""A field that never changes the result: paths, worker counts, devices, log settings. It is left out of the key."""


def _absolute(value: Any) -> Any:
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


Content = Annotated[Path, BeforeValidator(_absolute), BY_CONTENT]
"""A local file or folder, identified by the digest of its bytes, never by its name."""

MaybeContent = Annotated[Path | None, BeforeValidator(_absolute), BY_CONTENT]
"""The same, where there may be none."""


class StageConfig(BaseModel):
    """Base of every stage's configuration: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def identity(value: Any, where: str = "config") -> Any:
    """The JSON-like value that identifies `value`: model fields without the `Runtime` ones, `Content` paths by digest.

    Raises:
        StageError: for a value with no stable identity (a callable, a set, an open file, a bare path).
    """
    if isinstance(value, BaseModel):
        own = getattr(value, "identity", None)
        return own() if callable(own) else _fields(value, where)
    if isinstance(value, dict):
        return {_name(k, where): identity(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [identity(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 10 and 10.0 are one setting, however it was given
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise StageError(
        f"{where}: a {type(value).__name__} has no stable identity; use a number, a text, a list or a mapping, "
        "`Content` for a local file, or `Runtime[...]` for a field that never changes the result"
    )


def _fields(model: BaseModel, where: str) -> dict[str, Any]:
    result = {}
    for name, field in type(model).model_fields.items():
        value, place = getattr(model, name), f"{where}.{name}"
        if NO_IDENTITY in field.metadata:
            continue
        if isinstance(value, Path) and BY_CONTENT in field.metadata:
            result[name] = _content(value, place)
        else:
            result[name] = identity(value, place)
    return result


def _content(path: Path, where: str) -> str:
    if not path.exists():
        raise StageError(
            f"{where}: {path} does not exist; expected a file or folder that can be read; correct the path"
        )
    return tree_digest(path)


def _name(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise StageError(f"{where}: the mapping key {key!r} is a {type(key).__name__}; expected a text")
    return key
