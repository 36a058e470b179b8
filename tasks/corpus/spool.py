"""Copy the wanted members of all sources to the state folder, in shards of even size that workers read in parallel.

A compressed tar can only be read from its start, so one pass here saves every worker that pass. Shards depend on the
sources alone, never on the number of workers.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from tasks.corpus import cut as cutting
from tasks.corpus.code.order import imports_of, in_order
from tasks.corpus.code.repositories import repository_of
from tasks.corpus.cut import Cut, cuts
from tasks.errors import StageError
from tasks.files import write_whole
from tasks.sources import Bad, Part, Record, Source
from tasks.sources.archive import Entry
from tasks.sources.records import format_of, records_of, rows_of

FEWEST = 4  # shards, where one is not enough: even work for two workers, and for four


@dataclass(frozen=True)
class Piece:
    """A member, or a part of one that starts with record `first` at `byte`, as it lies in the spool; or a `bad` one."""

    source: str
    part: str
    member: str
    first: int
    byte: int = 0
    file: str = ""
    start: int = 0
    stop: int = 0
    groups: tuple[int, int] | None = None
    packed: bool = True
    bad: str = ""

    @property
    def bytes(self) -> int:
        return self.stop - self.start


def spool(sources: list[Source], folder: Path) -> list[list[Piece]]:
    """The shards, as lists of pieces; a finished spool (after a kill) is taken as it is.

    Raises:
        StageError: a member would be read twice.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        read: set[tuple[str, str]] = set()
        pieces = [piece for number, source in enumerate(sources) for piece in _pieces(source, folder, number, read)]
        shards = _shards(pieces)
        for number, shard in enumerate(shards):
            write_whole(_shard_file(folder, number), json.dumps([asdict(piece) for piece in shard], ensure_ascii=False))
        write_whole(manifest, json.dumps({"shards": len(shards)}))
    count = json.loads(manifest.read_text(encoding="utf-8"))["shards"]
    return [pieces_of(folder, number) for number in range(count)]


def pieces_of(folder: Path, shard: int) -> list[Piece]:
    """The pieces of a shard of a finished spool."""
    return [Piece(**values) for values in json.loads(_shard_file(folder, shard).read_text(encoding="utf-8"))]


def items_of(piece: Piece, folder: Path, part: Part) -> Iterator[Record | Bad]:
    """The records of a piece, and what of it cannot be read."""
    if piece.bad:
        return iter([Bad(piece.member, piece.first, piece.bad, piece.byte)])
    if piece.groups:
        return rows_of(piece.member, folder / piece.file, part, piece.first, piece.groups)
    with (folder / piece.file).open("rb") as stream:
        stream.seek(piece.start)
        data = stream.read(piece.bytes)
    return records_of(piece.member, data, part, piece.first, piece.byte, piece.packed)


def _shard_file(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.json"


def _pieces(source: Source, folder: Path, number: int, read: set[tuple[str, str]]) -> Iterator[Piece]:
    """A source's pieces. Record ids are made of source, member and index, so no member may be `read` twice."""
    with (folder / f"{number:03d}.raw").open("w+b") as shared:
        for part_name, part in source.parts.items():
            entries = _entries(source, part_name, part, read)
            pieces = _pieces_of(source, part_name, part, entries, shared, folder / f"{number:03d}-{part_name}")
            yield from repository_order(pieces, shared, part.repository_folders) if part.format == "code" else pieces


def _entries(source: Source, name: str, part: Part, read: set[tuple[str, str]]) -> Iterator[Entry | Bad]:
    """A part's members, each once; they join those that are `read`."""
    own: set[tuple[str, str]] = set()
    for count, entry in enumerate(source.entries(*part.members)):
        yield _once(entry, count, source.card.name, name, own, read)
    read |= own


def _pieces_of(
    source: Source, name: str, part: Part, entries: Iterable[Entry | Bad], shared: BinaryIO, own: Path
) -> Iterator[Piece]:
    for count, entry in enumerate(entries):
        for cut in _cuts_of(entry, part, shared, own.with_name(f"{own.name}-{count:06d}.parquet")):
            yield _piece(source.card.name, name, entry, cut)


def repository_order(pieces: Iterable[Piece], shared: BinaryIO, folders: int) -> Iterator[Piece]:
    """Repository by repository, what is imported before what imports it; what cannot be read comes last."""
    files: dict[str, dict[str, Piece]] = defaultdict(dict)
    bad = []
    for piece in pieces:
        if piece.bad:
            bad.append(piece)
        else:
            files[repository_of(piece.member, folders)][piece.member] = piece
    for _, members in sorted(files.items()):
        imports = {name: imports_of(name, _text(piece, shared)) for name, piece in members.items()}
        yield from (members[name] for name in in_order(imports))
    yield from bad


def _text(piece: Piece, shared: BinaryIO) -> str:
    shared.seek(piece.start)
    text = shared.read(piece.bytes).decode("utf-8", "replace")
    shared.seek(0, SEEK_END)
    return text


def _once(
    entry: Entry | Bad, count: int, source: str, part: str, own: set[tuple[str, str]], read: set[tuple[str, str]]
) -> Entry | Bad:
    """The entry, or why it is not read: an archive may hold a name twice, as after `tar -r`."""
    if isinstance(entry, Bad):
        return entry
    place = (source, entry.name)
    if place in read:
        raise StageError(
            f"sources: {source}/{part}: {entry.name} is read twice; name each source and part once, "
            "and let no two parts of a card share a member"
        )
    if place in own:
        return Bad(entry.name, count, "a member of this name stands before it in the archive, and was read")
    own.add(place)
    return entry


def _cuts_of(entry: Entry | Bad, part: Part, shared: BinaryIO, own: Path) -> Iterator[tuple[Cut | Bad, str]]:
    if isinstance(entry, Bad):
        yield entry, ""
    elif format_of(entry.name, part) == "parquet":  # its readers need a file of its own
        with own.open("wb") as sink:
            for cut in cuts(entry, part, sink):
                yield cut, own.name
    else:
        for cut in cuts(entry, part, shared):
            yield cut, Path(shared.name).name


def _piece(source: str, part: str, entry: Entry | Bad, found: tuple[Cut | Bad, str]) -> Piece:
    cut, file = found
    if isinstance(cut, Bad):
        return Piece(source, part, cut.member, cut.offset, cut.byte or 0, bad=cut.reason)
    member = entry.member if isinstance(entry, Bad) else entry.name
    return Piece(source, part, member, cut.first, cut.byte, file, cut.start, cut.stop, cut.groups, cut.packed)


def _shards(pieces: list[Piece]) -> list[list[Piece]]:
    """The pieces in their order, in shards of even size, so that no worker waits long for the last one.

    Even are those of JSON lines and WARC, which are cut; a run of row groups, or a member that cannot be cut, is whole.
    """
    total = sum(piece.bytes for piece in pieces)
    size = _even(total)
    shards: dict[int, list[Piece]] = defaultdict(list)
    at = 0
    for piece in pieces:
        shards[min(at, total - 1) // size].append(piece)
        at += piece.bytes
    return list(shards.values())


def _even(total: int) -> int:
    """Bytes of a shard, `SHARD` and a piece at most: what takes more than one is cut into a multiple of FEWEST."""
    if total <= cutting.SHARD:
        return max(1, total)
    shards = FEWEST * math.ceil(total / (FEWEST * cutting.SHARD))
    return math.ceil(total / shards)
