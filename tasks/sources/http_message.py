"""An HTTP response as it was recorded: status, content type and decoded body (RFC 9110, 9112)."""

from __future__ import annotations

import re
import zlib
from email.parser import BytesHeaderParser

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]{0,200}\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


def response(message: bytes, largest: int) -> tuple[int, str, bytes]:
    """(status, content type, body without transfer and content encodings).

    Raises:
        ValueError: not an HTTP response, an encoding that is unknown or damaged, a body that unpacks beyond `largest`.
    """
    status_line, _, rest = message.partition(b"\n")
    words = status_line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError(f"no HTTP status line: {status_line[:40]!r}")
    end = _END.search(message)
    if end is None:
        raise ValueError("an HTTP header without an end")
    headers = BytesHeaderParser().parsebytes(rest[: end.end() - len(status_line) - 1])
    body = message[end.end() :]
    if "chunked" in str(headers.get("Transfer-Encoding", "")).lower():
        body = _joined(body)
    for coding in reversed(re.split(r"\s*,\s*", str(headers.get("Content-Encoding", "")).strip().lower())):
        body = _decoded(body, coding, largest)
    return int(words[1]), str(headers.get("Content-Type", "")), body


def _joined(body: bytes) -> bytes:
    """The chunks of a body in one (RFC 9112, 7.1); crawlers often store it joined already.

    Raises:
        ValueError: the chunks break off.
    """
    chunks, place, whole = [], 0, 0
    while found := _CHUNK.match(body, place):
        size = int(found[1], 16)
        if size == 0:
            return b"".join(chunks)
        chunks.append(body[found.end() : found.end() + size])
        place = found.end() + size
        end = _LINE_END.match(body, place)
        if end is None:
            break
        place, whole = end.end(), whole + 1
    if (not whole and place < len(body)) or not body:  # it only begins like a chunk, if at all
        return body
    raise ValueError("damaged body: its chunks break off")


def _decoded(body: bytes, coding: str, largest: int) -> bytes:
    if coding in {"", "identity"}:
        return body
    if coding in {"gzip", "x-gzip"}:
        return body if body[:2] != b"\x1f\x8b" else _inflated(body, 31, largest)
    if coding == "deflate":
        return _inflated(body, 15 if body[:1] == b"\x78" else -15, largest)
    raise ValueError(f"Content-Encoding {coding!r} is not known; expected gzip or deflate")


def _inflated(body: bytes, bits: int, largest: int) -> bytes:
    stream = zlib.decompressobj(bits)
    try:
        plain = stream.decompress(body, largest + 1)
    except zlib.error as error:
        raise ValueError(f"damaged body: {error}") from error
    if len(plain) > largest:
        raise ValueError(f"unpacks to more than {largest} bytes: a bomb")
    if not stream.eof:
        raise ValueError("damaged body: breaks off")
    return plain
