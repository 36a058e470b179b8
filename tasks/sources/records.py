"""Cut a member into records, each with its index and, where there is one, the byte at which it starts."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tasks.sources.archive import Bad
from tasks.sources.card import Part
from tasks.sources.unpack import DAMAGE, plain_name, unpacked

LARGEST_TEXT = 16 << 20  # bytes of a record that is one text: a page, a mail, a line of JSON
SUFFIXES = {
    "ndjson": "jsonl", "txt": "text", "md": "text", "pq": "parquet", "xml": "mediawiki", "htm": "html", "xhtml": "html",
    "eml": "mail", "wet": "warc",
}  # fmt: skip
NO_RECORD = "holds no record"
ONE_TEXT = ("text", "html", "man", "mail", "code")  # formats in which a member is one record
_SECTION = re.compile(r"(?:^|/)man\w*/.*\.[1-9n]\w{0,5}$")  # man1/ls.1, zh_CN/man3/tk.3tcl


class Record(NamedTuple):
    """One record: its member, its index there, its fields under our names, and the byte of the member (as unpacked;
    of a WARC, as it is) at which it starts, or None where the format has no such place."""

    member: str
    offset: int
    data: dict[str, Any]
    byte: int | None = None


class Item(NamedTuple):
    """What a reader found at an index: a value, or the reason why there is none."""

    index: int
    value: Any
    byte: int | None = None
    fault: str = ""


Raw = Iterator[Item | Bad]


def records_of(
    member: str, data: bytes, part: Part, first: int = 0, byte: int = 0, packed: bool = True
) -> Iterator[Record | Bad]:
    """The records of a member, or of a piece of one that starts at `byte` with record `first`.

    packed: whether `data` is as the member's suffix says (.gz, ...), not unpacked yet.
    What cannot be read comes as `Bad`, with the index or the byte where it is.
    """
    name, kind = plain_name(member), format_of(member, part)
    if kind not in FORMATS:
        yield Bad(member, 0, f"unknown format; expected one of {', '.join(FORMATS)}")
        return
    plain = _unpacked(member, data) if packed and name != member and kind != "warc" else data
    if isinstance(plain, Bad):
        yield plain
    elif kind in ONE_TEXT and len(plain) > LARGEST_TEXT:
        yield Bad(member, 0, f"a text of {len(plain)} bytes; expected at most {LARGEST_TEXT}")
    else:
        items = _rows(io.BytesIO(plain), None, part) if kind == "parquet" else READERS[kind](member, plain)
        yield from _records(member, items, part, first, byte)


def rows_of(member: str, path: Path, part: Part, first: int, groups: tuple[int, int]) -> Iterator[Record | Bad]:
    """The records of some row groups (from, to) of a Parquet file on disk, which is not read whole."""
    yield from _records(member, _rows(str(path), range(*groups), part), part, first, 0)


def _records(member: str, items: Raw, part: Part, first: int, byte: int) -> Iterator[Record | Bad]:
    none = True
    for item in items:
        none = False
        yield _record(member, item, part, first, byte)
    if none:
        yield Bad(member, first, NO_RECORD, byte)


def _record(member: str, item: Item | Bad, part: Part, first: int, start: int) -> Record | Bad:
    if isinstance(item, Bad):
        return item._replace(offset=first + item.offset)
    index, raw, byte, fault = item
    if not fault and not isinstance(raw, dict):
        fault = f"a record is a {type(raw).__name__}, expected an object"
    elif not fault and not _valid_unicode(raw):
        fault = "invalid UTF-8"
    place = None if byte is None else start + byte
    if fault:
        return Bad(member, first + index, fault, place)
    return Record(
        member, first + index, {**(_mapped(raw, part.fields) if part.fields else raw), **part.constants}, place
    )


def _mapped(raw: dict[str, Any], fields: dict[str, str | tuple[str, ...]]) -> dict[str, Any]:
    chosen = {}
    for ours, theirs in fields.items():
        names = (theirs,) if isinstance(theirs, str) else theirs
        name = next((n for n in names if n in raw), None)
        if name is not None:
            chosen[ours] = raw[name]
    return chosen


def _json(member: str, data: bytes) -> Raw:
    try:
        value = _parse(data)
    except (ValueError, RecursionError) as error:
        yield Bad(member, getattr(error, "pos", 0), f"invalid JSON: {error}")
        return
    yield from (Item(i, v) for i, v in enumerate(value if isinstance(value, list) else [value]))


def _jsonl(_member: str, data: bytes) -> Raw:
    byte = 0
    for index, line in enumerate(data.split(b"\n")):
        if len(line) > LARGEST_TEXT:
            yield Item(index, None, byte, f"a line of {len(line)} bytes; expected at most {LARGEST_TEXT}")
        elif line.strip():
            try:
                yield Item(index, _parse(line), byte)
            except (ValueError, RecursionError) as error:
                yield Item(index, None, byte, f"invalid JSON: {error}")
        byte += len(line) + 1


def _text(_member: str, data: bytes) -> Raw:
    yield Item(0, {"text": data.decode("utf-8", "surrogateescape")}, 0)


def _rows(file: Any, groups: range | None, part: Part) -> Raw:
    from tasks.sources.parquet import rows

    columns = {name for theirs in part.fields.values() for name in ((theirs,) if isinstance(theirs, str) else theirs)}
    for index, row in rows(file, groups, columns):
        fault = str(row) if isinstance(row, ValueError) else _too_long(row)
        yield Item(index, None, None, fault) if fault else Item(index, row)


def _too_long(row: dict[str, Any]) -> str:
    """Which text of a row is larger than one may be, or ""."""
    for name, value in row.items():
        if isinstance(value, str) and 4 * len(value) > LARGEST_TEXT:  # no character has more bytes
            size = len(value.encode("utf-8", "surrogatepass"))
            if size > LARGEST_TEXT:
                return f"{name}: a text of {size} bytes; expected at most {LARGEST_TEXT}"
    return ""


def _mediawiki(member: str, data: bytes) -> Raw:
    from tasks.sources.mediawiki import pages

    try:
        yield from (Item(i, page) for i, page in enumerate(pages(data)))
    except ValueError as error:
        yield Bad(member, 0, str(error))


def _html(_member: str, data: bytes) -> Raw:
    yield _decoded(0, {"html": data})


def _warc(_member: str, data: bytes) -> Raw:
    from tasks.sources.warc import contents

    for index, (byte, found) in enumerate(contents(data)):
        if isinstance(found, ValueError):
            yield Item(index, None, byte, str(found))
        else:
            yield _decoded(index, found, byte)


def _decoded(index: int, fields: dict[str, Any], byte: int = 0) -> Item:
    """Fields whose `html` or `bytes` became text by the sender's `charset` or what the bytes themselves say."""
    from tasks.sources.encoding import decode

    charset = fields.pop("charset", "")
    for theirs, ours in (("html", "html"), ("bytes", "text")):
        if theirs in fields:
            try:
                fields[ours] = decode(fields.pop(theirs), charset)
            except ValueError as error:
                return Item(index, None, byte, str(error))
    return Item(index, fields, byte)


def _man(_member: str, data: bytes) -> Raw:
    from tasks.sources.encoding import decode
    from tasks.sources.man import markdown

    yield _made(lambda: markdown(decode(data)))


def _mail(_member: str, data: bytes) -> Raw:
    from tasks.sources.mail import mail

    yield _made(lambda: mail(data))


def _lines(_member: str, data: bytes) -> Raw:
    item = _decoded(0, {"bytes": data})
    if item.fault:
        yield item
    else:
        yield from (Item(i, {"text": line}) for i, line in enumerate(item.value["text"].splitlines()) if line.strip())


def _code(member: str, data: bytes) -> Raw:
    item = _decoded(0, {"bytes": data})
    yield item if item.fault else item._replace(value={"code": item.value["text"], "path": member})


def _made(make: Callable[[], dict[str, Any]]) -> Item:
    try:
        return Item(0, make(), 0)
    except ValueError as error:
        return Item(0, None, 0, str(error))


READERS: dict[str, Callable[[str, bytes], Raw]] = {
    "json": _json,
    "jsonl": _jsonl,
    "text": _text,
    "mediawiki": _mediawiki,
    "html": _html,
    "warc": _warc,
    "man": _man,
    "mail": _mail,
    "code": _code,
    "lines": _lines,
}
FORMATS = ("parquet", *READERS)


def _parse(data: bytes) -> Any:
    """JSON, fast; where a byte is not UTF-8, slowly, so that only the records that hold such bytes are lost."""
    import orjson

    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data.decode("utf-8", "surrogateescape"))  # `_record` finds what stands for them


def _valid_unicode(record: dict[str, Any]) -> bool:
    """Whether every text in a record can be written as UTF-8: none holds a lone surrogate."""
    waiting: list[Any] = [record]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and not (value.isascii() or _encodes(value)):
            return False
        if isinstance(value, dict):
            waiting += (*value.keys(), *value.values())
        elif isinstance(value, list):
            waiting += value
    return True


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def format_of(member: str, part: Part) -> str:
    """The format a member is read in: the part's, or what the name's suffix says."""
    if part.format != "auto":
        return part.format
    name = plain_name(member)
    suffix = name.rpartition(".")[2].lower()
    return "man" if _SECTION.search(name) else SUFFIXES.get(suffix, suffix)


def _unpacked(member: str, data: bytes) -> bytes | Bad:
    blocks: list[bytes] = []
    try:
        with unpacked(member, io.BytesIO(data)) as stream:
            while block := stream.read(1 << 20):
                blocks.append(block)
    except DAMAGE as error:
        whole = sum(map(len, blocks))
        return Bad(member, whole, f"corrupt member: {error or type(error).__name__}")
    return b"".join(blocks)
