"""What a stage call means right now: look only (plan), or build. Set for the length of a `with`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tasks.artifact import Artifact

if TYPE_CHECKING:
    from tasks.config import StageConfig
    from tasks.stage import Stage


@dataclass(frozen=True)
class Pending:
    """Stands where an artifact will be: it is yet to be built, or was left out of this run."""

    label: str


Input = Artifact | Pending


class Session(Protocol):
    """Gives meaning to `stage(cfg, role=artifact)`."""

    def call(self, stage: Stage, cfg: StageConfig, inputs: dict[str, Input]) -> Input: ...


_current: ContextVar[Session] = ContextVar("fullchain session")


@contextmanager
def session(meaning: Session) -> Iterator[None]:
    """Give stage calls inside the `with` their meaning."""
    token = _current.set(meaning)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Session:
    """The session in force. Raises RuntimeError when a stage is called outside of any."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "a stage was called outside of a session; call it from the chain, or use tasks.build.build"
        ) from None
