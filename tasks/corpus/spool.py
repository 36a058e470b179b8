"""Copy the wanted members of all sources to the state folder, in shards of even size that workers read in parallel.

A compressed tar can only be read from its start, so one pass here saves every worker that pass. Shards depend on the
sources alone, never on the number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from tasks.errors import StageError
from tasks.files import write_whole
from tasks.sources import Bad, Part, Source
from tasks.sources.archive import CORRUPT, Entry
from tasks.sources.records import format_of

SHARD = 4 << 20  # bytes of raw members; a larger member is a shard of its own


@dataclass(frozen=True)
class Piece:
    """A member, or a run of lines of one, as it lies in the spool; or a member that could not be read."""

    source: str
    part: str
    member: str
    first: int  # index of the piece's first record in the member
    bytes: int
    file: str
    bad: str = ""


def spool(sources: list[Source], folder: Path) -> list[list[Piece]]:
    """The shards, as lists of pieces; a finished spool (after a kill) is taken as it is.

    Raises:
        StageError: a member would be read twice.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        numbers = count()
        pieces = [piece for source in sources for piece in _pieces(source, folder, numbers)]
        _require_once(pieces)
        write_whole(manifest, json.dumps([asdict(piece) for piece in pieces], ensure_ascii=False))
    return _shards([Piece(**values) for values in json.loads(manifest.read_text(encoding="utf-8"))])


def _require_once(pieces: list[Piece]) -> None:
    """Record ids are made of source, member and index, so no member may be read twice."""
    seen: set[tuple[str, str, int]] = set()
    for piece in pieces:
        place = (piece.source, piece.member, piece.first)
        if not piece.bad and place in seen:
            raise StageError(
                f"sources: {piece.source}/{piece.part}: {piece.member} is read twice; name each source and part once, "
                "and let no two parts of a card share a member"
            )
        seen.add(place)


def _pieces(source: Source, folder: Path, numbers: Iterator[int]) -> Iterator[Piece]:
    for part_name, part in source.parts.items():
        for entry in source.entries(*part.members):
            for first, data in _runs(entry, part):
                if isinstance(data, Bad):
                    yield Piece(source.card.name, part_name, data.member, data.offset, 0, "", data.reason)
                    continue
                file = f"{next(numbers):06d}.raw"
                (folder / file).write_bytes(data)
                yield Piece(source.card.name, part_name, entry.name, first, len(data), file)


def _runs(entry: Entry | Bad, part: Part) -> Iterator[tuple[int, bytes | Bad]]:
    """(index of the first record, bytes): JSON lines are cut into runs, all else stays whole."""
    if isinstance(entry, Bad):
        yield 0, entry
    elif format_of(entry.name, part) != "jsonl":
        yield 0, entry.read()
    else:
        yield from _line_runs(entry)


def _line_runs(entry: Entry) -> Iterator[tuple[int, bytes | Bad]]:
    first, lines, size = 0, [], 0
    try:
        with entry.open() as stream:
            for line in stream:
                lines.append(line)
                size += len(line)
                if size >= SHARD:
                    yield first, b"".join(lines)
                    first, lines, size = first + len(lines), [], 0
    except CORRUPT as error:
        yield first, Bad(entry.name, first + len(lines), f"corrupt member: {error or type(error).__name__}")
    if lines:
        yield first, b"".join(lines)


def _shards(pieces: list[Piece]) -> list[list[Piece]]:
    shards: list[list[Piece]] = [[]]
    for piece in pieces:
        if shards[-1] and sum(p.bytes for p in shards[-1]) + piece.bytes > SHARD:
            shards.append([])
        shards[-1].append(piece)
    return [shard for shard in shards if shard]
