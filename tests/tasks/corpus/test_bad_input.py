"""Damaged input is set aside with its reason and place, the run goes on, and fails only above the configured share."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus import CorpusConfig, corpus
from tasks.sources import SourceRef
from tasks.stage import StageError
from tests.stages import attempt
from tests.tasks.corpus.bad_input import Case, cases

CASES = cases()
GOOD = [f"The moon rises over the quiet hills, and the river talks to itself, {n} of them." for n in "abcdefghijklmnop"]
SETTINGS = {"languages": ("en",), "near_duplicate": 1.0, "validation": 0.5, "workers": 1, "web_rules": False}


def run(folder: Path, root: Path, **config: object) -> Path:
    cfg = CorpusConfig(sources=(SourceRef(str(folder)),), **(SETTINGS | config))
    return attempt(corpus, cfg, root)[0]


def quarantine(files: Path) -> list[dict]:
    return [json.loads(line) for line in (files / "quarantine.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def set_aside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What the quarantine says of each member, after one run over all the damage and some good texts."""
    root = tmp_path_factory.mktemp("bad")
    folder = root / "input"
    for name, data, _ in CASES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for number, text in enumerate(GOOD):
        (folder / f"good{number}.jsonl").write_text(json.dumps({"text": text}) + "\n")
    (folder / "link.txt").symlink_to(folder / "good0.jsonl")
    with (folder / "line.jsonl").open("wb") as stream:  # a line of 100 MB, between good ones
        stream.write(b'{"text": "before it there is a line that anybody can read, and is glad of"}\n{"text": "')
        for _ in range(100):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n{"text": "after it there is another such line, and nobody has lost anything"}\n')
    with (folder / "line.txt").open("wb") as stream:
        for _ in range(100):
            stream.write(b"y" * (1 << 20))
    files = run(folder, root / "work", max_quarantined=1.0)
    found: dict[str, list[dict]] = {}
    for row in quarantine(files):
        found.setdefault(row["member"], []).append(row)
    found["kept"], found["ledger"] = _kept(files), _rows(files / "ledger")
    return found


def _kept(files: Path) -> list[dict]:
    return [row for split in ("train", "validation") for row in _rows(files / split)]


def _rows(folder: Path) -> list[dict]:
    return pa.concat_tables(map(pq.read_table, sorted(folder.glob("*.parquet")))).to_pylist()


def test_there_are_at_least_two_hundred_cases() -> None:
    assert len({name for name, _, _ in CASES}) == len(CASES) >= 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_it_is_set_aside_with_its_reason_and_place(case: Case, set_aside: dict[str, list[dict]]) -> None:
    name, _, reason = case
    rows = set_aside.get(name)
    assert rows, f"{name} is not in the quarantine"
    assert any(re.search(reason, row["reason"]) for row in rows), rows
    assert all(row["offset"] >= 0 and row["source"] for row in rows)


def test_good_records_beside_the_damage_are_kept(set_aside: dict[str, list[dict]]) -> None:
    texts = {row["text"] for row in set_aside["kept"]}
    assert set(GOOD) <= texts
    assert sum("such line" in text or "anybody can read" in text for text in texts) == 2
    assert len({row["id"] for row in set_aside["kept"]}) == len(set_aside["kept"])


def test_a_line_of_100_mb_is_told_with_its_byte(set_aside: dict[str, list[dict]]) -> None:
    (row,) = set_aside["line.jsonl"]
    assert (row["offset"], row["byte"]) == (1, 76)
    assert re.search("a line of 1048576.. bytes", row["reason"])
    assert "expected at most" in set_aside["line.txt"][0]["reason"]
    assert "not a regular file" in set_aside["link.txt"][0]["reason"]


def test_records_before_a_cut_are_read(set_aside: dict[str, list[dict]]) -> None:
    from_cut = [r for r in set_aside["ledger"] if r["member"] == "cut9.jsonl.gz" and r["reason"] != "quarantined"]
    assert 10 < len(from_cut) < 60
    assert [row["offset"] for row in from_cut] == list(range(len(from_cut)))


def test_records_that_share_an_id_of_their_own_are_told_apart(tmp_path: Path) -> None:
    lines = [json.dumps({"id": "same", "text": text}) for text in GOOD]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    kept = _kept(run(tmp_path / "a.jsonl", tmp_path / "work"))
    assert len({row["id"] for row in kept}) == len(GOOD)
    assert {json.loads(row["metadata"])["id"] for row in kept} == {"same"}


def test_more_damage_than_the_configured_share_fails_the_run(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}) for text in GOOD[:6]] + ["broken"] * 4
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(StageError, match=r"4 of 10 records could not be read, 40\.0%; at most 30\.0%"):
        run(tmp_path / "a.jsonl", tmp_path / "work", max_quarantined=0.3)
    assert len(quarantine(run(tmp_path / "a.jsonl", tmp_path / "work2", max_quarantined=0.4))) == 4
