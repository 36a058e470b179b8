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
INVALID = object()  # stands for a value with bytes that are not UTF-8
SUFFIXES = {
    "ndjson": "jsonl", "txt": "text", "md": "text", "pq": "parquet", "xml": "mediawiki", "htm": "html", "xhtml": "html",
    "eml": "mail", "wet": "warc",
}  # fmt: skip
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
    reader = READERS.get(kind)
    if reader is None:
        yield Bad(member, 0, f"unknown format; expected one of {', '.join(READERS)}")
        return
    plain = _unpacked(member, data) if packed and name != member and kind != "warc" else data
    if isinstance(plain, Bad):
        yield plain
    elif kind in ONE_TEXT and len(plain) > LARGEST_TEXT:
        yield Bad(member, 0, f"a text of {len(plain)} bytes; expected at most {LARGEST_TEXT}")
    else:
        for item in reader(member, plain):
            yield _record(member, item, part, first, byte)


def rows_of(member: str, path: Path, part: Part, first: int, groups: tuple[int, int]) -> Iterator[Record | Bad]:
    """The records of some row groups (from, to) of a Parquet file on disk, which is not read whole."""
    for item in _rows(member, str(path), range(*groups)):
        yield _record(member, item, part, first, 0)


def _record(member: str, item: Item | Bad, part: Part, first: int, start: int) -> Record | Bad:
    if isinstance(item, Bad):
        return item._replace(offset=first + item.offset)
    index, raw, byte, fault = item
    if raw is INVALID:
        fault = "invalid UTF-8"
    elif not fault and not isinstance(raw, dict):
        fault = f"a record is a {type(raw).__name__}, expected an object"
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
    yield Item(0, _or_invalid({"text": data.decode("utf-8", "surrogateescape")}), 0)


def _parquet(member: str, data: bytes) -> Raw:
    yield from _rows(member, io.BytesIO(data), None)


def _rows(member: str, file: Any, groups: range | None) -> Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1024, row_groups=groups):
            for row in batch.to_pylist():
                yield Item(index, row)
                index += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Bad(member, index, f"invalid Parquet: {error}")


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


READERS: dict[str, Callable[[str, Any], Raw]] = {
    "json": _json,
    "jsonl": _jsonl,
    "text": _text,
    "parquet": _parquet,
    "mediawiki": _mediawiki,
    "html": _html,
    "warc": _warc,
    "man": _man,
    "mail": _mail,
    "code": _code,
    "lines": _lines,
}


def _parse(data: bytes) -> Any:
    """JSON, fast; where a byte is not UTF-8, slowly, so that only the records that hold such bytes are lost."""
    import orjson

    try:
        return orjson.loads(data)
    except ValueError:
        value = json.loads(data.decode("utf-8", "surrogateescape"))
        return [_or_invalid(v) for v in value] if isinstance(value, list) else _or_invalid(value)


def _or_invalid(value: Any) -> Any:
    return value if _valid_unicode(value) else INVALID


def _valid_unicode(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() or _encodes(value)
    if isinstance(value, dict):
        return all(_valid_unicode(v) for v in value.values())
    return not isinstance(value, list) or all(_valid_unicode(v) for v in value)


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
