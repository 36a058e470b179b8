"""An opened source: its members and records, whatever the archive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.errors import StageError
from tasks.files import tree_digest
from tasks.sources.archive import CORRUPT, Bad, Entry, matcher, walk
from tasks.sources.card import Card, Part, is_local
from tasks.sources.fetch import fetch
from tasks.sources.records import Record, records_of
from tasks.sources.ref import SourceRef
from tasks.store import home


@dataclass(frozen=True)
class Source:
    """A source on this machine, verified. `part` is the part that the reference selected; empty means all of them."""

    card: Card
    path: Path
    sha256: str
    part: str = ""

    @property
    def parts(self) -> dict[str, Part]:
        return {name: self.card.parts[name] for name in self.card.part_names(self.part)}

    def entries(self, *globs: str) -> Iterator[Entry | Bad]:
        """Members that fit the globs (default: those of the selected parts), readable in turn."""
        chosen = globs or tuple(g for part in self.parts.values() for g in part.members)
        return walk(self.path, matcher(chosen))

    def members(self, *globs: str) -> list[str]:
        """Names of the members that fit the globs, in the archive's order."""
        return [entry.name for entry in self.entries(*globs) if isinstance(entry, Entry)]

    def read(self, member: str) -> bytes:
        """A member's bytes. Raises StageError when it is missing or cannot be read."""
        with self._member(member) as entry:
            data = entry.read()
        if isinstance(data, Bad):
            raise self._unreadable(member, data.reason)
        return data

    def extract(self, member: str, directory: Path) -> Path:
        """Copy a member, under its last name, into a folder; whole or not at all. Raises StageError as `read` does."""
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / PurePosixPath(member).name
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            with self._member(member) as entry, entry.open() as stream, temporary.open("wb") as sink:
                shutil.copyfileobj(stream, sink, 1 << 20)
        except CORRUPT as error:
            temporary.unlink(missing_ok=True)
            raise self._unreadable(member, str(error)) from error
        return temporary.replace(target)

    def records(self) -> Iterator[Record | Bad]:
        """Every record of the selected parts, part by part; what cannot be read comes as `Bad`, never silently."""
        for part in self.parts.values():
            yield from self.records_in(part)

    def records_in(self, part: Part) -> Iterator[Record | Bad]:
        """Every record of one part."""
        for entry in self.entries(*part.members):
            data = entry if isinstance(entry, Bad) else entry.read()
            yield from [data] if isinstance(data, Bad) else records_of(entry.name, data, part)

    @contextmanager
    def _member(self, member: str) -> Iterator[Entry]:
        for entry in walk(self.path, lambda name: name == member):
            if isinstance(entry, Bad):
                raise self._unreadable(member, entry.reason)
            yield entry
            return
        raise self._unreadable(member, f"no such member; it has {', '.join(self.members('**')[:5])}, ...")

    def _unreadable(self, member: str, why: str) -> StageError:
        return StageError(f"source {self.card.name}: {member} in {self.path.name}: {why}")


def open_source(reference: str | Path | SourceRef) -> Source:
    """A source by catalogue name (`NAME` or `NAME/PART`), pinned uri, card file or local path; fetched when not here.

    Raises:
        StageError: unknown name or part, no such path, not fetched (with how to supply it by hand), wrong bytes.
    """
    ref = reference if isinstance(reference, SourceRef) else SourceRef(str(reference))
    card, part = ref.card()
    if not is_local(card.uri):
        return Source(card, fetch(card.name, card.uri, card.sha256, home() / "downloads"), card.sha256, part)
    path = Path(card.uri)
    digest = tree_digest(path)
    if card.sha256 and card.sha256 != digest:
        raise StageError(
            f"source {card.name}: {path} has sha256 {digest}, its card expects {card.sha256}; correct either"
        )
    return Source(card, path, digest, part)
