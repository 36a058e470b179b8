"""Bad input of every kind, made by damaging good input: (file name, its bytes, what the quarantine must say)."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.tasks.sources.webpages import warc_record

Case = tuple[str, bytes, str]
PACKERS = {
    "gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}  # fmt: skip
NOT_UTF8 = {
    "continuation": b"\x80", "overlong": b"\xc0\xaf", "overlong3": b"\xe0\x80\xaf", "surrogate": b"\xed\xa0\x80",
    "beyond": b"\xf4\x90\x80\x80", "cut2": b"\xc3", "cut3": b"\xe4\xb8", "cut4": b"\xf0\x9f\x98", "ff": b"\xff",
    "fe": b"\xfe", "latin": b"caf\xe9 au lait", "mixed": b"ok \xe4\xb8\xad \xe4\xb8",
}  # fmt: skip
LINES = b"".join(
    json.dumps({"text": f"Line {i} of a text that {random.Random(i).randbytes(30).hex()}"}).encode() + b"\n"
    for i in range(60)
)


def cases() -> list[Case]:
    makers = (
        _truncated, _flipped, _bombs, _warcs, _http, _encodings, _json, _nul, _columns, _parquets, _pages, _others,
        _empty, _numbers,
    )  # fmt: skip
    return [case for maker in makers for case in maker()]


def _truncated() -> Iterator[Case]:
    for suffix, pack in PACKERS.items():
        data = pack(LINES)
        for tenth in range(1, 10):
            yield f"cut{tenth}.jsonl.{suffix}", data[: len(data) * tenth // 10], "corrupt member"
        yield f"tail.jsonl.{suffix}", data[:-1], "corrupt member"


def _flipped() -> Iterator[Case]:
    dice = random.Random(7)
    data = PACKERS["gz"](LINES)
    for number in range(16):
        place = dice.randrange(20, len(data) - 8)
        yield f"flip{number}.jsonl.gz", data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :], "corrupt member"
    yield "crc.jsonl.gz", data[:-8] + bytes(4) + data[-4:], "corrupt member"
    yield "nothing.jsonl.gz", b"this is no gzip file", "corrupt member"
    yield "nothing.jsonl.zst", b"this is no zstd file", "corrupt member"
    yield "nothing.jsonl.xz", b"this is no xz file", "corrupt member"


def _bombs() -> Iterator[Case]:
    zeros = bytes(90 << 20)
    for suffix in ("gz", "zst"):
        yield f"bomb.jsonl.{suffix}", PACKERS[suffix](zeros), "bomb|a line of"
    yield "bomb.html.gz", PACKERS["gz"](zeros), "bomb"
    yield "bomb.txt.zst", PACKERS["zst"](zeros), "bomb"
    inner = gzip.compress(bytes(20 << 20), mtime=0)
    yield "body.warc", warc_record(0, inner, headers={"Content-Encoding": "gzip"}), "bomb"


def _warcs() -> Iterator[Case]:
    records = [warc_record(i, f"<p>page {i}</p>".encode()) for i in range(4)]
    plain, packed = b"".join(records), b"".join(gzip.compress(r, mtime=0) for r in records)
    for step in range(1, 13):
        cut = len(plain) - len(records[3]) * step // 14 - 6
        yield f"cut{step}.warc", plain[:cut], "breaks off|damaged header|WARC|HTTP"
        last = len(gzip.compress(records[3], mtime=0))
        yield f"cut{step}.warc.gz", packed[: len(packed) - last * step // 14 - 9], "breaks off|damaged|Gzip|WARC|HTTP"
    start = len(records[0])
    kind = b"WARC-Type: response"
    changes = ((b"WARC/1.0", b"XARC/1.0"), (kind, b"WARC-Tipe: response"), (b"Content-Length", b"Content-Lenth"),
               (kind, b"WARC-Type: nonsense"), (kind, b"\0" * 17))  # fmt: skip
    for number, (old, new) in enumerate(changes):
        yield f"header{number}.warc", plain[:start] + plain[start:].replace(old, new, 1), "damaged header|WARC"
    yield "garbage.warc", b"nothing of an archive " * 50, "WARC"
    yield "text.warc.gz", gzip.compress(b"nothing of an archive " * 50), "WARC"
    middle = len(gzip.compress(records[0], mtime=0)) + 25
    for number in range(6):
        damaged = packed[: middle + number] + b"\xff" * 12 + packed[middle + number + 12 :]
        yield f"middle{number}.warc.gz", damaged, "Gzip|damaged|breaks off|WARC|HTTP"


def _http() -> Iterator[Case]:
    good = gzip.compress(b"<p>a page</p>" * 40, mtime=0)
    yield "coding.warc", warc_record(0, b"x", headers={"Content-Encoding": "rot13"}), "rot13"
    yield "body-cut.warc", warc_record(0, good[:-12], headers={"Content-Encoding": "gzip"}), "damaged body"
    yield (
        "body-bad.warc",
        warc_record(0, good[:12] + b"\xff" * 8 + good[20:], headers={"Content-Encoding": "gzip"}),
        ("damaged body"),
    )
    yield (
        "deflate.warc",
        warc_record(0, b"\x78\x9cnot deflate", headers={"Content-Encoding": "deflate"}),
        "damaged body",
    )
    yield "status.warc", warc_record(0, b"x").replace(b"HTTP/1.1 200 OK", b"GOPHER 200 OKAY"), "status line"
    yield "charset.warc", warc_record(0, b"<p>\xff\xfe\xfd\x80 \x81\x8d</p>" * 9, charset="utf-8"), "not UTF-8|NUL"


def _encodings() -> Iterator[Case]:
    for name, sequence in NOT_UTF8.items():
        yield f"{name}.jsonl", b'{"text": "a ' + sequence + b' b"}\n', "invalid UTF-8|invalid JSON"
        yield f"{name}.txt", b"A text with " + sequence + b" in it", "invalid UTF-8"
        yield f"{name}.json", b'[{"text": "a ' + sequence + b' b"}]', "invalid UTF-8|invalid JSON"


def _json() -> Iterator[Case]:
    broken = [
        b'{"text": "a', b'{"text": }', b'{"text" "a"}', b"{'text': 'a'}", b'{"text": "a",}', b"{", b"}", b"[", b"text",
        b'{"text": "a"} {"text": "b"}', b'{"text": "\x01"}', b'{"text": "\\x41"}', b'{"text": tru}', b"\xef\xbb\xbf{",
        b"<html>", b'{"text": "\\ud83d',
    ]  # fmt: skip
    for number, line in enumerate(broken):
        yield f"broken{number}.jsonl", line + b"\n", "invalid JSON"
    for number, value in enumerate((b"5", b'"a text"', b"null", b"true", b"[1, 2]", b"1e400")):
        yield f"scalar{number}.jsonl", value + b"\n", "expected an object"
        yield f"scalar{number}.json", b"[" + value + b"]", "expected an object"
    yield "deep.json", b"[" * 100_000, "invalid JSON"
    yield "deep.jsonl", b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n", "invalid JSON"
    yield "lone.jsonl", b'{"text": "a \\ud83d b"}\n', "invalid UTF-8"


def _nul() -> Iterator[Case]:
    yield "nul.txt", b"A text\0with a NUL in it", "NUL"
    yield "binary.txt", bytes(range(128)) * 4, "NUL"
    yield "nul.jsonl", b'{"text": "a\\u0000b"}\n', "NUL"
    yield "nul.json", b'[{"text": "a\\u0000b"}]', "NUL"
    yield "title.jsonl", b'{"paragraphs": ["a"], "title": "a\\u0000b"}\n', "NUL"
    yield "raw.jsonl", b'{"text": "a\0b"}\n', "invalid JSON"
    yield "nul.parquet", _parquet({"text": ["a\0b"]}), "NUL"


def _columns() -> Iterator[Case]:
    wrong = [
        ({}, "text: missing; the record has no fields"), ({"body": "a"}, "text: missing; the record has body"),
        ({"text": 5}, "text: expected a text, found int"), ({"text": None}, "text: missing; the record has text"),
        ({"text": ["a"]}, "text: expected a text, found list"),
        ({"text": {"a": 1}}, "text: expected a text, found dict"),
        ({"text": True}, "text: expected a text, found bool"), ({"Text": "a"}, "text: missing; the record has Text"),
        ({"paragraphs": "a"}, "paragraphs: expected a list of texts, found str"),
        ({"paragraphs": [1]}, "paragraphs: expected a list of texts, found a list with int"),
        ({"paragraphs": None}, "paragraphs: expected a list of texts, found NoneType"),
        ({"html": 7}, "html: expected a text, found int"),
        ({"paragraphs": ["a"], "author": 3}, "author: expected a text, found int"),
    ]  # fmt: skip
    for number, (fields, reason) in enumerate(wrong):
        yield f"fields{number}.jsonl", json.dumps(fields).encode() + b"\n", f"^{reason}$"
    columns = [
        ([1, 2], "int"),
        ([1.5, None], "float"),
        ([["a"], ["b"]], "list"),
        ([{"a": 1}], "dict"),
        ([True], "bool"),
    ]
    for number, (column, kind) in enumerate(columns):
        yield f"column{number}.parquet", _parquet({"text": column}), f"^text: expected a text, found {kind}$"
    yield "nocolumn.parquet", _parquet({"body": ["a", "b"]}), "text: missing"


def _parquets() -> Iterator[Case]:
    data = _parquet({"text": [f"row {i} {random.Random(i).randbytes(20).hex()}" for i in range(500)]})
    for tenth in range(0, 10):
        yield f"cut{tenth}.parquet", data[: len(data) * tenth // 10], "Parquet"
    yield "magic.parquet", b"PAR2" + data[4:-4] + b"PAR2", "Parquet"
    yield "text.parquet", b"not a table at all", "Parquet"


def _pages() -> Iterator[Case]:
    for depth in (500, 1_000, 5_000, 100_000):
        yield f"deep{depth}.html", b"<div>" * depth + b"text", "nested"
    yield "wide.html", b"<html><body>" + b"<b>x</b>" * 210_000, "elements"
    yield "empty.html", b"", "not HTML"
    yield "blank.html", b"   \n ", "not HTML"
    yield "long.html", b"<p>" + b"long text " * (17 << 17), "expected at most"
    for number, junk in enumerate((b"\xff\xd8\xff\xe0\x81\x8d\x8f\x90", b"\x89PNG\r\n\x1a\n\x81\x8d\x8f\x90\x9d")):
        yield f"image{number}.html", junk * 30, "not UTF-8"


def _others() -> Iterator[Case]:
    for suffix in ("docx", "pdf", "exe", "mp4", "unknown", "csv"):
        yield f"file.{suffix}", b"PK\x03\x04 whatever", "unknown format"
    for number, page in enumerate((b"no macro here", b".SH NAME\nls - list", b"\xff\xfe\x81\x8d\x8f", b"")):
        yield f"man/man1/page{number}.1", page, "not a manual page|not UTF-8|truncated|decode"
    yield "headless.eml", b"", "not a mail"
    yield "dump.xml", b"<mediawiki><page><title>a</title>", "invalid XML"
    yield "tags.xml", b"<mediawiki><page></wrong></page>", "invalid XML"


def _empty() -> Iterator[Case]:
    nothing = [("jsonl", b""), ("json", b"[]"), ("warc", b""), ("jsonl", b"\n \n"), ("xml", b"<mediawiki></mediawiki>"),
               ("parquet", _parquet({"text": pa.array([], pa.string())}))]  # fmt: skip
    for number, (suffix, data) in enumerate(nothing):
        yield f"nothing{number}.{suffix}", data, "^holds no record$"
    for suffix, pack in PACKERS.items():
        yield f"empty.jsonl.{suffix}", pack(b""), "^holds no record$"


def _numbers() -> Iterator[Case]:
    """Values that Python, Unicode or JSON cannot hold."""
    for number, value in enumerate(("NaN", "-Infinity", "1e999")):
        line = b'{"text": "a", "score": %s}\n' % value.encode()
        yield f"number{number}.jsonl", line, "^score: (nan|-?inf) is no number that JSON has$"
    days = pa.array([2**60], pa.int64())
    yield "moment.parquet", _parquet({"text": ["a"], "day": days.view(pa.timestamp("us"))}), "cannot be read"
    yield "date.parquet", _parquet({"text": ["a"], "day": pa.array([2**30], pa.int32()).view(pa.date32())}), "cannot be"
    yield "roff/man1/lone.1", b".TH A 1\n.SH NAME\na \\[uD800] b", "^invalid UTF-8$"


def _parquet(columns: dict[str, list]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()
