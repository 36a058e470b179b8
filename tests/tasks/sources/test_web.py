"""Pages, web archives, mails, manual pages and packed files, as they are found."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
from email.message import EmailMessage

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources import Bad, Part, Record
from tasks.sources.encoding import decode
from tasks.sources.http_message import response
from tasks.sources.records import records_of
from tests.tasks.sources.webpages import CHINESE_PAGE, ENGLISH_PAGE, info_record, warc_record, wet_record


def read(name: str, data: bytes, part: Part | None = None) -> list:
    return list(records_of(name, data, part or Part()))


def good(name: str, data: bytes, part: Part | None = None) -> list[dict]:
    return [r.data for r in read(name, data, part) if isinstance(r, Record)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb2312", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("told", ["meta", "sender", "nobody"])
def test_a_chinese_page_in_any_encoding_reads_the_same(encoding: str, told: str) -> None:
    label = encoding.removesuffix("-sig")
    page = CHINESE_PAGE.replace('charset="utf-8"', f'charset="{label}"' if told == "meta" else "")
    assert decode(page.encode(encoding), label if told == "sender" else "") == page


def test_a_wrong_label_does_not_spoil_valid_utf8() -> None:
    assert decode("潮汐表".encode(), "iso-8859-1") == "潮汐表"
    assert decode("café".encode("latin-1"), "latin1") == "café"
    assert decode("“quoted”".encode("cp1252"), "iso-8859-1") == "“quoted”"


@pytest.mark.parametrize("label", ["unicode_escape", "raw_unicode_escape", "utf_7", "punycode", "idna"])
def test_a_label_that_only_python_knows_is_no_encoding(label: str) -> None:
    page = "café".encode("latin-1") + b" \\ud800 +2AA- about the tides of the bay"
    assert decode(page, label) == "café \\ud800 +2AA- about the tides of the bay"


def test_a_mail_in_such_an_encoding_reads_as_it_is() -> None:
    mail = b"Subject: tides\nContent-Type: text/plain; charset=unicode_escape\n\n\\ud800 caf\xe9 of the bay\n"
    (found,) = good("a.eml", mail)
    assert found["text"] == "\\ud800 café of the bay\n"


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "gbk", "no-such-encoding", "utf-16", "\0"]))
def test_no_bytes_crash_the_decoder(data: bytes, label: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode(data, label), str)


@pytest.mark.parametrize("packed", [False, True])
def test_a_web_archive_gives_its_pages_with_address_and_byte(packed: bool) -> None:
    pages = [ENGLISH_PAGE.encode(), CHINESE_PAGE.encode("gbk")]
    raw = [
        info_record(),
        warc_record(0, pages[0]),
        warc_record(1, pages[1], charset="gbk"),
        wet_record(2, "plain text"),
    ]
    parts = [gzip.compress(r, mtime=0) for r in raw] if packed else raw
    found = read("crawl.warc.gz" if packed else "crawl.warc", b"".join(parts))
    assert [r.data.get("html", r.data.get("text")) for r in found] == [ENGLISH_PAGE, CHINESE_PAGE, "plain text"]
    assert [r.data["url"] for r in found] == [f"https://site.example/{i}" for i in range(3)]
    starts = [sum(map(len, parts[:i])) for i in range(1, 4)]
    assert [(r.offset, r.byte) for r in found] == list(enumerate(starts))


def test_what_is_no_page_comes_without_text() -> None:
    image, missing = (
        warc_record(0, b"\x89PNG", kind="image/png"),
        warc_record(1, b"<p>gone</p>", status="404 Not Found"),
    )
    assert [(r["text"], r.get("content_type"), r.get("status")) for r in good("a.warc", image + missing)] == [
        ("", "image/png", None),
        ("", None, 404),
    ]


def test_records_after_damage_are_found_again() -> None:
    records = [warc_record(i, f"<p>{i}</p>".encode()) for i in range(5)]
    packed = [gzip.compress(r, mtime=0) for r in records]
    packed[2] = packed[2][:20] + b"\xff" * 30 + packed[2][50:]
    found = read("a.warc.gz", b"".join(packed))
    assert [r.data["html"] for r in found if isinstance(r, Record)] == ["<p>0</p>", "<p>1</p>", "<p>3</p>", "<p>4</p>"]
    (bad,) = [r for r in found if isinstance(r, Bad)]
    assert bad.byte == len(packed[0] + packed[1])


@given(st.binary(max_size=400), st.integers(0, 900))
def test_no_damage_to_a_web_archive_crashes_its_reader(noise: bytes, place: int) -> None:
    data = b"".join(warc_record(i, b"<p>x</p>") for i in range(3))
    for name, damaged in (("a.warc", data[:place] + noise + data[place + len(noise) :]), ("b.warc", noise)):
        assert all(isinstance(r, Record | Bad) for r in read(name, damaged))


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate", "chunked"])
def test_a_body_comes_without_its_encodings(coding: str) -> None:
    import zlib

    body = {
        "gzip": gzip.compress(b"page"),
        "deflate": zlib.compress(b"page"),
        "chunked": b"2\r\npa\r\n2\r\nge\r\n0\r\n\r\n",
    }
    header = f"Transfer-Encoding: {coding}" if coding == "chunked" else f"Content-Encoding: {coding}"
    message = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{header}\r\n\r\n".encode() + body.get(coding, b"page")
    assert response(message, 1000) == (200, "text/html", b"page")


@pytest.mark.parametrize("cut", [1, 4, 6, 8, 12, 15])
def test_a_chunked_body_that_breaks_off_is_damaged(cut: int) -> None:
    body = b"4\r\n<p>a\r\n4\r\n</p>\r\n0\r\n\r\n"
    message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert response(message + body, 1000)[2] == b"<p>a</p>"
    with pytest.raises(ValueError, match="damaged body: its chunks break off"):
        response(message + body[: 3 + cut], 1000)
    for joined in (b"<p>joined already</p>", b"1\nand more lines", b""):
        assert response(message + joined, 1000)[2] == joined


PACKERS = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}  # fmt: skip


@given(st.sampled_from(list(PACKERS)), st.lists(st.text(max_size=30), max_size=5), st.integers(1, 3))
def test_packed_lines_come_back_as_written(suffix: str, texts: list[str], parts: int) -> None:
    whole = "".join(json.dumps({"text": t}) + "\n" for t in texts).encode()
    size = -(-len(whole) // parts) or 1
    packed = b"".join(PACKERS[suffix](whole[i : i + size]) for i in range(0, max(1, len(whole)), size))
    assert [r["text"] for r in good(f"a.jsonl{suffix}", packed)] == texts


def test_a_record_of_json_lines_knows_its_byte() -> None:
    found = read("a.jsonl", b'{"a": 1}\n\nbroken\n{"a": 2}\n')
    assert [(r.offset, r.byte) for r in found] == [(0, 0), (2, 10), (3, 17)]


def test_a_mail_gives_its_subject_and_what_a_reader_sees() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "潮汐表", "harbour@site.example"
    mail.set_content("plain words")
    assert good("a.eml", mail.as_bytes()) == [{"title": "潮汐表", "text": "plain words\n"}]
    mail.add_alternative("<p>shown words</p>", subtype="html")
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png")
    (found,) = good("a.eml", mail.as_bytes())
    assert found["html"].strip() == "<p>shown words</p>" and "text" not in found


MAN = r""".\" a comment
.TH TIDE 1 "2026-01" "harbour" "Tools"
.de Sp
.sp 0.5v
..
.SH 名称
tide \- 打印潮汐\fB表\fP
.SH SYNOPSIS
.B tide
[\-\-place \fIPLACE\fR]
.SH 描述
第一行
第二行
.TP
\fB\-p\fR, \fB\-\-place\fR
The place, such as \(lqIsland\(rq.
.SS Example
.nf
for day in year:
    print(day)
.fi
.if t .ft B
.BR moon (7)
"""


def test_a_manual_page_becomes_markdown() -> None:
    (page,) = good("man1/tide.1", MAN.encode())
    assert page["title"] == "TIDE(1)"
    assert page["text"].split("\n\n") == [
        "# 名称", "tide - 打印潮汐表", "# SYNOPSIS", "tide [--place PLACE]", "# 描述", "第一行第二行",
        "- -p, --place — The place, such as “Island”.", "## Example", "```\nfor day in year:\n    print(day)\n```",
        "moon(7)",
    ]  # fmt: skip
    assert good("zh_CN/man1/tide.1.gz", gzip.compress(MAN.encode())) == [page]


def test_mdoc_pages_are_read_too() -> None:
    mdoc = ".Dd January 1, 2026\n.Dt MOON 7\n.Os\n.Sh NAME\n.Nm moon\n.Nd when it rises\n.Sh DESCRIPTION\nIt rises.\n"
    (page,) = good("man7/moon.7", mdoc.encode())
    assert page["title"] == "MOON(7)" and "moon - when it rises" in page["text"] and "It rises." in page["text"]


@given(st.text(max_size=300))
def test_no_roff_crashes_the_converter(text: str) -> None:
    assert all(isinstance(r, Record | Bad) for r in read("man1/a.1", f".TH A 1\n{text}".encode()))
