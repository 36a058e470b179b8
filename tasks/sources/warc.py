"""Web archives (WARC, ISO 28500): pages and plain texts of responses, with where each record starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.sources.http_message import response

LARGEST = 16 << 20  # bytes of one record
CONTENT = ("response", "resource", "conversion")
NO_CONTENT = ("warcinfo", "request", "metadata", "revisit", "continuation")
PAGES = ("text/html", "application/xhtml+xml")
GZIP, PLAIN = b"\x1f\x8b\x08", b"WARC/1."


class Window:
    """A file-like view of the bytes from `place` to `stop` of a buffer."""

    def __init__(self, data: Any, place: int, stop: int) -> None:
        self.data, self.place, self.stop = data, place, stop

    def read(self, size: int = -1) -> bytes:
        end = self.stop if size < 0 else min(self.stop, self.place + size)
        block = bytes(self.data[self.place : end])
        self.place += len(block)
        return block

    def tell(self) -> int:
        return self.place


def entries(data: Any, begin: int = 0, stop: int | None = None) -> Iterator[tuple[int, Any]]:
    """(byte, record or what is wrong there) of every record in a part of a buffer, packed by gzip or not.

    data: bytes or a memory map. After damage it goes on at the next place where a record could start.
    """
    from fastwarc.warc import ArchiveIterator

    stop = len(data) if stop is None else stop
    mark = GZIP if data[begin : begin + 3] == GZIP else PLAIN
    start, last = begin, -1
    untold: ValueError | None = None  # damage after the record at `last`; the next mark may be its very place
    while 0 <= start < stop:
        try:
            for record in ArchiveIterator(Window(data, start, stop), parse_http=False):
                if untold:
                    yield last, untold
                last, untold = max(last, record.stream_pos), None
                yield record.stream_pos, record
            start = data.find(mark, last + 1, stop) if mark == GZIP else -1
            if start > last:  # the library passes over a record whose header breaks off
                yield start, ValueError("breaks off in its header")
            return
        except (OSError, ValueError) as error:
            if start > last:
                yield start, ValueError(str(error))
            untold = ValueError(str(error)) if start <= last else None
        start = data.find(mark, max(start, last) + 1, stop)
    if untold:
        yield last, untold


def contents(data: Any) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    """(byte, fields or what is wrong) of every response, resource and conversion; other records hold no content.

    A page comes as `html` in bytes, a plain text as `bytes`, with their `charset`. What is neither, or no answer of
    status 200, comes with an empty `text`.
    """
    for start, record in entries(data):
        if isinstance(record, ValueError):
            yield start, record
        elif holds_content(record):
            try:
                yield start, _fields(record)
            except ValueError as error:
                yield start, error


def holds_content(record: Any) -> bool:
    """Whether a record is a page or text, or should be but is too damaged to tell."""
    return record.headers.get("WARC-Type") not in NO_CONTENT


def _fields(record: Any) -> dict[str, Any]:
    headers = record.headers
    if headers.get("WARC-Type") not in CONTENT or headers.get("Content-Length") is None:
        raise ValueError("a damaged header: no known WARC-Type or no Content-Length")
    size = record.content_length
    if size > LARGEST:
        raise ValueError(f"a record of {size} bytes; expected at most {LARGEST}")
    block = record.reader.read()
    if len(block) < size:
        raise ValueError(f"breaks off: {len(block)} of {size} bytes")
    fields: dict[str, Any] = {"url": headers.get("WARC-Target-URI") or "", "date": headers.get("WARC-Date") or ""}
    kind = headers.get("Content-Type") or ""
    if record.is_http and headers.get("WARC-Type") == "response":
        status, kind, block = response(block, LARGEST)
        if status != 200:
            return fields | {"status": status, "text": ""}
    kind, _, parameters = kind.partition(";")
    charset = parameters.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    if kind.strip().lower() in PAGES:
        return fields | {"html": block, "charset": charset}
    if kind.strip().lower() == "text/plain":
        return fields | {"bytes": block, "charset": charset}
    return fields | {"content_type": kind.strip(), "text": ""}
