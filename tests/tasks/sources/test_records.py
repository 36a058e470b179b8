"""Records of every format, and what happens to those that are not well-formed."""

import bz2
import gzip
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources import Bad, Part, Record
from tasks.sources.parquet import rows
from tasks.sources.records import records_of

AUTO = Part()
objects = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=20) | st.integers(-5, 5), max_size=3)


def read(name: str, data: bytes, part: Part = AUTO) -> list:
    return list(records_of(name, data, part))


def good(name: str, data: bytes, part: Part = AUTO) -> list[dict]:
    return [r.data for r in read(name, data, part) if isinstance(r, Record)]


def bad(name: str, data: bytes, part: Part = AUTO) -> list[tuple[int, str]]:
    return [(r.offset, r.reason) for r in read(name, data, part) if isinstance(r, Bad)]


@given(st.lists(objects, max_size=6))
def test_json_and_json_lines_come_back_as_written(values: list[dict]) -> None:
    array = json.dumps(values).encode()
    lines = "\n".join(map(json.dumps, values)).encode()
    for name, data in (("a.json", array), ("a.jsonl", lines)):
        found = [r for r in read(name, data) if isinstance(r, Record)]
        assert [r.data for r in found] == values
        assert [r.offset for r in found] == list(range(len(values)))


@given(st.binary(max_size=60), st.sampled_from(["a.json", "a.jsonl", "a.txt", "a.parquet", "a.xml", "a.json.gz"]))
def test_no_bytes_crash_a_reader(data: bytes, name: str) -> None:
    assert all(isinstance(r, Record | Bad) for r in read(name, data))


def test_a_broken_line_loses_that_line_only() -> None:
    data = b'{"text": "a"}\n{"text": \n\n{"text": "c"}\n[1]\n"d"\n'
    assert good("a.jsonl", data) == [{"text": "a"}, {"text": "c"}]
    assert [offset for offset, _ in bad("a.jsonl", data)] == [1, 4, 5]


def test_invalid_utf8_loses_the_record_that_holds_it_only() -> None:
    array = b'[{"text": "a"}, {"text": "b\xff"}, {"x": {"y": ["\xfe"]}}, {"text": "\xe4\xb8\xad"}]'
    assert good("a.json", array) == [{"text": "a"}, {"text": "中"}]
    assert bad("a.json", array) == [(1, "invalid UTF-8"), (2, "invalid UTF-8")]
    assert bad("a.txt", b"caf\xe9") == [(0, "invalid UTF-8")]


def test_lone_surrogates_lose_the_record_that_holds_them_only() -> None:
    lines = b'{"a \\ud83d": 1}\n{"x": [{"y": "\\udc00"}]}\n{"text": "\\ud83d\\ude00"}\n'
    assert good("a.jsonl", lines) == [{"text": "😀"}]
    assert bad("a.jsonl", lines) == [(0, "invalid UTF-8"), (1, "invalid UTF-8")]
    nested = b'{"a":' * 1000 + b"[]" + b"}" * 1000
    assert len(good("a.jsonl", nested)) == 1
    assert bad("man1/a.1", b".TH A 1\n.SH NAME\na \\[uD800] b") == [(0, "invalid UTF-8")]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.jsonl", b""), ("a.jsonl", b"\n \n"), ("a.jsonl.gz", gzip.compress(b"")), ("a.warc", b""), ("a.json", b"[]"),
     ("a.xml", b"<mediawiki></mediawiki>")],
)  # fmt: skip
def test_what_holds_no_record_is_told(name: str, data: bytes) -> None:
    assert good(name, data) == []
    assert [reason for _, reason in bad(name, data)] == ["holds no record"]


def test_an_array_that_breaks_off_is_told_with_its_byte() -> None:
    ((offset, reason),) = bad("a.json", b'[{"text": "a"}, {"te')
    assert "invalid JSON" in reason and offset == 17


def test_deep_nesting_is_an_error_of_the_record_not_of_the_program() -> None:
    assert len(bad("a.json", b"[" * 100_000)) == 1


def test_a_piece_of_a_member_counts_on() -> None:
    data = b'{"a": 1}\nbroken\n{"a": 2}\n'
    assert [r.offset for r in records_of("a.jsonl", data, AUTO, first=10)] == [10, 11, 12]


def test_parquet_rows_and_damage() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "n": [1, 2]}), sink)
    assert good("a.parquet", sink.getvalue()) == [{"text": "a", "n": 1}, {"text": "b", "n": 2}]
    assert "invalid Parquet" in bad("a.parquet", sink.getvalue()[:-9])[0][1]


def table(columns: dict, **how: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **how)
    return sink.getvalue()


def test_a_parquet_row_that_cannot_be_read_loses_that_row_only() -> None:
    texts = pa.array([b"one"] * 2000 + [b"\xff\xfe"] + [b"two"] * 1005).view(pa.string())
    days = pa.array([0] * 5 + [2**60] + [1] * 3000, pa.int64()).view(pa.timestamp("us"))
    data = table({"text": texts, "day": days})
    assert len(good("a.parquet", data)) == 3004
    assert [offset for offset, _ in bad("a.parquet", data)] == [5, 2000]
    assert bad("a.parquet", data)[1][1].startswith("a value that cannot be read: 'utf-8'")


def test_a_parquet_text_that_is_too_long_is_told_as_in_other_formats() -> None:
    data = table({"title": ["a", "b", "c"], "text": ["short", "é" * (9 << 20), "x" * (16 << 20)]}, compression="zstd")
    assert [r.offset for r in read("a.parquet", data) if isinstance(r, Record)] == [0, 2]
    assert bad("a.parquet", data) == [(1, f"text: a text of {18 << 20} bytes; expected at most {16 << 20}")]


def test_long_rows_of_parquet_are_not_all_in_memory_at_once(tmp_path: Path) -> None:
    texts = [f"{number:08}" * (1 << 18) for number in range(64)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", compression="zstd", write_batch_size=1)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in rows(str(tmp_path / "a.parquet"))]
    assert len(held) == 64 and max(held) < 64 << 20


def test_parquet_columns_that_nobody_asked_for_spoil_nothing() -> None:
    days = pa.array([2**60, 1], pa.int64()).view(pa.timestamp("us"))
    data = table({"body": ["a", "b"], "day": days})
    assert good("a.parquet", data, Part(fields={"text": ("text", "body")})) == [{"text": "a"}, {"text": "b"}]
    assert good("a.parquet", data, Part(fields={"text": "nowhere"})) == [{}, {}]


def test_a_damaged_row_group_loses_that_group_only() -> None:
    data = table({"text": [f"row {i} {i * 7919}" for i in range(300)]}, row_group_size=100)
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    at = column.data_page_offset + 4
    damaged = data[:at] + b"\xff" * 30 + data[at + 30 :]
    assert [r.offset for r in read("a.parquet", damaged) if isinstance(r, Record)] == [*range(100), *range(200, 300)]
    assert [(offset, reason.partition(":")[0]) for offset, reason in bad("a.parquet", damaged)] == [
        (100, "invalid Parquet, 100 rows from here")
    ]


def test_an_empty_table_is_told() -> None:
    assert bad("a.parquet", table({"text": pa.array([], pa.string())})) == [(0, "holds no record")]


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_members_open_by_their_suffix(suffix: str, pack) -> None:
    packed = pack(b'{"text": "a"}\n' * 50)
    assert len(good("a.jsonl" + suffix, packed)) == 50
    assert "corrupt member" in bad("a.jsonl" + suffix, packed[:-8])[0][1]


def zipped(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "one\n\n二 three\n" * 30)
    return sink.getvalue()


def test_a_zip_of_one_file_opens_and_other_zips_are_told() -> None:
    lines = Part(format="lines")
    assert good("words.zip", zipped("words.txt"), lines)[:2] == [{"text": "one"}, {"text": "二 three"}]
    for damaged in (zipped("a", "b"), zipped("words.txt")[:-30], b"PK"):
        assert "not a zip of one plain file" in bad("words.zip", damaged, lines)[0][1]


def test_fields_are_mapped_first_present_wins_and_constants_are_added() -> None:
    part = Part(format="jsonl", fields={"title": ("title", "rhythmic"), "by": "author"}, constants={"dynasty": "宋"})
    data = '{"rhythmic": "好事近", "author": "蔡襄", "id": 1}\n{"title": "a", "rhythmic": "b"}\n'.encode()
    assert good("x", data, part) == [
        {"title": "好事近", "by": "蔡襄", "dynasty": "宋"},
        {"title": "a", "dynasty": "宋"},
    ]


def test_an_unknown_format_is_told_with_the_known_ones() -> None:
    assert "jsonl" in bad("a.docx", b"PK")[0][1]


WIKI = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Anarchism</title><ns>0</ns><revision><text>{{Infobox|x={{y}}}}'''Anarchism''' is a [[political philosophy|
philosophy]].&lt;ref name="a"&gt;A book&lt;/ref&gt;

== History ==
* One [[File:a.jpg|thumb|[[inner]] text]]
{| class="wikitable"
| cell {| nested |}
|}
See [https://example.org the site].
[[Category:Ideas]]</text></revision></page>
<page><title>Old</title><ns>0</ns><revision><text>#REDIRECT [[Anarchism]]</text></revision></page>
<page><title>Talk:Anarchism</title><ns>1</ns><revision><text>chatter</text></revision></page>
</mediawiki>"""


def test_wiki_articles_become_plain_text_without_redirects_and_talk() -> None:
    (page,) = good("dump.xml", WIKI.encode())
    assert page["title"] == "Anarchism"
    assert "Anarchism is a\nphilosophy." in page["text"]
    assert "History" in page["text"] and "See the site." in page["text"]
    for mark in ("{{", "}}", "[[", "]]", "'''", "==", "<ref", "A book", "cell", "Category", "thumb"):
        assert mark not in page["text"]


def test_a_dump_that_breaks_off_keeps_the_articles_before() -> None:
    cut = WIKI[: WIKI.index("<page><title>Talk")].encode()
    assert len(good("dump.xml", cut)) == 1
    assert "invalid XML" in bad("dump.xml", cut)[0][1]
