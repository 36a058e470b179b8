"""Cut a member into records, each with its index: JSON, JSON lines, plain text, Parquet, MediaWiki XML."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tasks.sources.archive import Bad
from tasks.sources.card import Part

LARGEST = 2 << 30  # bytes of one compressed member, unpacked
UNPACK = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
INVALID = object()  # stands for a value with bytes that are not UTF-8
SUFFIXES = {"ndjson": "jsonl", "txt": "text", "md": "text", "pq": "parquet", "xml": "mediawiki"}


class Record(NamedTuple):
    """One record: its member, its index there, and its fields under our names."""

    member: str
    offset: int
    data: dict[str, Any]


Raw = Iterator[tuple[int, Any] | Bad]


def records_of(member: str, data: bytes, part: Part, first: int = 0) -> Iterator[Record | Bad]:
    """The records of a member, or of a piece of one that starts with record `first`.

    What cannot be read comes as `Bad`, with the index or the byte where it is.
    """
    name, plain = _unpacked(member, data)
    if isinstance(plain, Bad):
        yield plain
        return
    reader = READERS.get(format_of(name, part))
    if reader is None:
        yield Bad(member, 0, f"unknown format; expected one of {', '.join(READERS)}")
        return
    for item in reader(member, plain):
        if isinstance(item, Bad):
            yield item._replace(offset=first + item.offset)
        else:
            yield _record(member, first + item[0], item[1], part)


def _record(member: str, offset: int, raw: Any, part: Part) -> Record | Bad:
    if raw is INVALID:
        return Bad(member, offset, "invalid UTF-8")
    if not isinstance(raw, dict):
        return Bad(member, offset, f"a record is a {type(raw).__name__}, expected an object")
    return Record(member, offset, {**(_mapped(raw, part.fields) if part.fields else raw), **part.constants})


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
    yield from enumerate(value if isinstance(value, list) else [value])


def _jsonl(member: str, data: bytes) -> Raw:
    for index, line in enumerate(data.split(b"\n")):
        if not line.strip():
            continue
        try:
            yield index, _parse(line)
        except (ValueError, RecursionError) as error:
            yield Bad(member, index, f"invalid JSON: {error}")


def _text(_member: str, data: bytes) -> Raw:
    yield 0, _or_invalid({"text": data.decode("utf-8", "surrogateescape")})


def _parquet(member: str, data: bytes) -> Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = 0
    try:
        for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches():
            for row in batch.to_pylist():
                yield index, row
                index += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Bad(member, index, f"invalid Parquet: {error}")


def _mediawiki(member: str, data: bytes) -> Raw:
    from tasks.sources.mediawiki import pages

    try:
        yield from enumerate(pages(data))
    except ValueError as error:
        yield Bad(member, 0, str(error))


READERS: dict[str, Callable[[str, bytes], Raw]] = {
    "json": _json,
    "jsonl": _jsonl,
    "text": _text,
    "parquet": _parquet,
    "mediawiki": _mediawiki,
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


def format_of(name: str, part: Part) -> str:
    """The format a member is read in: the part's, or what the name's suffix says."""
    suffix = name.rpartition(".")[2].lower()
    return SUFFIXES.get(suffix, suffix) if part.format == "auto" else part.format


def _unpacked(member: str, data: bytes) -> tuple[str, bytes | Bad]:
    stem, dot, suffix = member.rpartition(".")
    opener = UNPACK.get(dot + suffix)
    if opener is None:
        return member, data
    try:
        with opener(io.BytesIO(data)) as stream:
            plain = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        return stem, Bad(member, 0, f"corrupt member: {error}")
    return stem, Bad(member, LARGEST, f"unpacks to more than {LARGEST} bytes") if len(plain) > LARGEST else plain
