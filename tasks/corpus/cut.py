"""Cut a member into pieces that workers read independently: lines of JSON, Parquet row groups, WARC records.

A member is copied to a sink as a stream, so that memory does not grow with it; a piece is a range of bytes there.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tasks.sources import Bad, Part
from tasks.sources.archive import CORRUPT, Entry
from tasks.sources.records import LARGEST_TEXT, NO_RECORD, ONE_TEXT, format_of
from tasks.sources.unpack import DAMAGE, unpacked

SHARD = 4 << 20  # bytes of a shard, about, and of the largest run of row groups
BLOCK = 1 << 20
FAILURES = (*CORRUPT, *DAMAGE)


class Cut(NamedTuple):
    """Bytes `start` to `stop` of the sink: what they hold begins with record `first`, at `byte` of the member."""

    first: int
    byte: int
    start: int
    stop: int
    groups: tuple[int, int] | None = None  # row groups of the Parquet file that the range is, from and to
    packed: bool = True  # as its suffix says


def cuts(entry: Entry, part: Part, sink: BinaryIO) -> Iterator[Cut | Bad]:
    """The pieces of a member, copied to the sink; what cannot be read, or holds nothing, comes as `Bad`."""
    none = True
    for cut in _cuts(entry, part, sink):
        none = False
        yield cut
    if none:
        yield Bad(entry.name, 0, NO_RECORD, 0)


def piece_size(before: int) -> int:
    """Bytes of a piece that begins behind so many of its source: little of these, so that shards come out even, and
    more as they grow, so that pieces stay few."""
    return min(SHARD // 8, max(SHARD // 32, before // 128))


def _cuts(entry: Entry, part: Part, sink: BinaryIO) -> Iterator[Cut | Bad]:
    kind = format_of(entry.name, part)
    if kind == "jsonl":
        yield from _lines(entry, sink)
    elif kind in ONE_TEXT and entry.size > LARGEST_TEXT:
        yield Bad(entry.name, 0, f"a text of {entry.size} bytes; expected at most {LARGEST_TEXT}")
    else:
        whole = _copied(entry, sink)
        divide = {"parquet": _row_groups, "warc": _warc_runs}.get(kind)
        full = isinstance(whole, Cut) and whole.stop > whole.start
        yield from divide(entry, sink, whole) if divide and full else [whole]


def _copied(entry: Entry, sink: BinaryIO) -> Cut | Bad:
    start = sink.tell()
    try:
        with entry.open() as stream:
            while block := stream.read(BLOCK):
                sink.write(block)
    except CORRUPT as error:
        return _undo(sink, start, Bad(entry.name, 0, f"corrupt member: {error or type(error).__name__}"))
    size = sink.tell() - start
    if size != entry.size:
        return _undo(sink, start, Bad(entry.name, size, f"corrupt member: {size} of {entry.size} bytes"))
    return Cut(0, 0, start, sink.tell())


def _undo(sink: BinaryIO, start: int, bad: Bad) -> Bad:
    sink.seek(start)
    sink.truncate()
    return bad


def _lines(entry: Entry, sink: BinaryIO) -> Iterator[Cut | Bad]:
    """Runs of whole lines, unpacked; a line too long for a record is left out and told."""
    first = index = byte = 0
    start = sink.tell()
    from_byte = 0
    try:
        with entry.open() as raw:
            stream = unpacked(entry.name, raw)
            while line := stream.readline(LARGEST_TEXT):
                long = len(line) == LARGEST_TEXT and not line.endswith(b"\n")
                if long or sink.tell() - start >= piece_size(start):
                    if sink.tell() > start:
                        yield Cut(first, from_byte, start, sink.tell(), packed=False)
                    first, from_byte, start = index, byte, sink.tell()
                size = len(line)
                if long:
                    size += _rest_of_line(stream)
                    yield Bad(entry.name, index, f"a line of {size} bytes; expected at most {LARGEST_TEXT}", byte)
                    first, from_byte = index + 1, byte + size
                elif sink.tell() > start or line.strip():
                    sink.write(line)
                else:  # no piece begins with blank lines, so each holds a record
                    first, from_byte = index + 1, byte + size
                index, byte = index + 1, byte + size
    except FAILURES as error:
        yield Bad(entry.name, index, f"corrupt member: {error or type(error).__name__}", byte)
    if sink.tell() > start:
        yield Cut(first, from_byte, start, sink.tell(), packed=False)


def _rest_of_line(stream: BinaryIO) -> int:
    size = 0
    while block := stream.readline(BLOCK):
        size += len(block)
        if block.endswith(b"\n"):
            break
    return size


def _row_groups(_entry: Entry, sink: BinaryIO, whole: Cut) -> Iterator[Cut]:
    """Runs of row groups; the sink holds nothing but this file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink.flush()
    try:
        about = pq.read_metadata(sink.name)
    except (pa.ArrowException, OSError):
        yield whole  # its reader tells what is wrong
        return
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    rows = size = begin = begin_row = 0
    for number, group in enumerate(groups):
        rows, size = rows + group.num_rows, size + group.total_byte_size
        if size >= SHARD or number == len(groups) - 1:
            yield whole._replace(first=begin_row, groups=(begin, number + 1))
            begin, begin_row, size = number + 1, rows, 0


def _warc_runs(_entry: Entry, sink: BinaryIO, whole: Cut) -> Iterator[Cut]:
    from tasks.sources.warc import entries, holds_content

    first = index = 0
    begin = whole.start
    sink.flush()
    with mmap.mmap(sink.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for byte, record in entries(data, whole.start, whole.stop):
            if byte - begin >= piece_size(begin) and byte < whole.stop and index > first:
                yield Cut(first, begin - whole.start, begin, byte)
                first, begin = index, byte
            index += isinstance(record, ValueError) or holds_content(record)
    if index > first:
        yield Cut(first, begin - whole.start, begin, whole.stop)
