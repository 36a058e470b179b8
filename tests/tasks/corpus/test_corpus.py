"""The corpus stage as a whole: what comes out, and that it is the same however it was made."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.artifact import Artifact
from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.corpus.blocks import SpoolReader
from tasks.corpus.documents import Draft
from tasks.corpus.facts import describe
from tasks.corpus.rules.lists import BlockedUrl
from tasks.corpus.spool import spool
from tasks.sources import Card, Part, Source, SourceRef, open_source
from tasks.stage import StageError
from tasks.store import Store

ENGLISH = "The moon rises over the quiet hills, and the river goes on talking to itself, night {} of the year."


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.corpus.cut.SHARD", 20_000)


def made(store: Store, *sources: str | Path, **config: object) -> Artifact:
    values = {"workers": 1, "validation": 0.1, "web_rules": False} | config
    return build(store, corpus, CorpusConfig(sources=tuple(SourceRef(str(s)) for s in sources), **values), {})[0]


def table(artifact: Artifact, folder: str) -> list[dict]:
    return pa.concat_tables(map(pq.read_table, sorted((artifact.path / folder).glob("*.parquet")))).to_pylist()


@pytest.fixture
def micro(store: Store) -> Artifact:
    return made(store, "micro-verses")


def test_every_input_record_has_exactly_one_row_in_the_ledger(micro: Artifact) -> None:
    ledger = table(micro, "ledger")
    records = [(r.member, r.offset) for r in open_source("micro-verses").records()]
    assert [(row["member"], row["offset"]) for row in ledger] == records
    assert len({row["id"] for row in ledger}) == len(ledger)


def test_what_the_ledger_keeps_is_what_the_splits_hold(micro: Artifact) -> None:
    ledger = table(micro, "ledger")
    for split in ("train", "validation"):
        documents = table(micro, split)
        assert [d["id"] for d in documents] == [row["id"] for row in ledger if row["split"] == split] != []
        assert set(documents[0]) == {"id", "text", "source", "metadata"}
    assert all((row["split"] == "") == (row["reason"] != "") for row in ledger)
    assert 0.05 < len(table(micro, "validation")) / len(ledger) < 0.2


def test_every_rule_has_a_verdict_for_every_record_that_could_be_read(micro: Artifact) -> None:
    for row in table(micro, "ledger"):
        verdicts = {name: value for name, value in row.items() if isinstance(value, bool)}
        if row["reason"] == "quarantined":
            assert verdicts == {}
        else:
            assert len(verdicts) == 15
            assert (row["reason"] == "") == all(verdicts.values())
            assert row["reason"] == next((name for name, passed in verdicts.items() if not passed), "")


def test_planted_faults_are_dropped_for_their_reason(micro: Artifact) -> None:
    reasons = {row["offset"]: row for row in table(micro, "ledger") if row["offset"] >= 700}
    assert [reasons[i]["reason"] for i in sorted(reasons)] == [
        *["exact_duplicate", "near_duplicate", "missing_characters", "exact_duplicate", "quarantined"],
        *["length", "empty", "empty", "quarantined"],
    ]
    assert reasons[701]["duplicate_of"] == "micro-verses/content.jsonl#0"
    assert 0.6 <= reasons[701]["similarity"] < 1
    quarantine = [json.loads(line) for line in (micro.path / "quarantine.jsonl").read_text().splitlines()]
    assert [(q["offset"], q["reason"].partition(":")[0]) for q in quarantine] == [
        (704, "paragraphs"),
        (708, "invalid JSON"),
    ]
    assert micro.metrics["quarantined"] == 2


def test_the_waterfall_falls_from_all_records_to_the_splits(micro: Artifact) -> None:
    steps = json.loads((micro.path / "waterfall.json").read_text())
    ledger, kept = table(micro, "ledger"), [*table(micro, "train"), *table(micro, "validation")]
    assert (steps[0]["step"], steps[0]["documents"]) == ("read", len(ledger))
    assert (steps[-1]["step"], steps[-1]["documents"]) == ("near_duplicate", len(kept))
    assert steps[-1]["characters"] == sum(len(d["text"]) for d in kept)
    assert all(a["documents"] >= b["documents"] for a, b in pairwise(steps))


def test_traditional_verse_comes_out_simplified_with_its_form(micro: Artifact) -> None:
    documents = table(micro, "train")
    assert not any(c in d["text"] for d in documents for c in "風紅東鐘涼陽邊門雲")
    assert {json.loads(d["metadata"])["form"] for d in documents} <= {"5x4", "5x8", "7x4", "7x8"}


def test_the_same_bytes_at_any_number_of_workers(store: Store, tmp_path: Path) -> None:
    one = made(store, "micro-verses", workers=1)
    two = made(Store(tmp_path / "other"), "micro-verses", workers=2)
    assert len(list((one.path / "ledger").iterdir())) > 3
    assert one.digest == two.digest


def test_a_file_of_ones_own_in_any_form(store: Store, tmp_path: Path) -> None:
    texts = [ENGLISH.format(f"{word} {word[::-1]}" * 3) for word in ("one", "seven", "winter", "gold", "ash", "elm")]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.jsonl").write_text("\n".join(json.dumps({"text": t, "by": "me"}) for t in texts[:4]) + '\n{"text": 5}\n')
    (mine / "b.txt").write_text(texts[4])
    pq.write_table(pa.table({"text": [texts[5]]}), mine / "c.parquet")
    (mine / "d.docx").write_bytes(b"PK")
    artifact = made(store, mine, languages=("en",), near_duplicate=1.0, validation=0.5)
    kept = [*table(artifact, "train"), *table(artifact, "validation")]
    assert sorted(d["text"] for d in kept) == sorted(texts)
    assert [row["member"] for row in table(artifact, "ledger") if row["reason"]] == ["a.jsonl", "d.docx"]
    assert str(tmp_path) not in (artifact.path / "sources.json").read_text()


def test_what_travels_to_the_workers_does_not_grow_with_the_input(tmp_path: Path) -> None:
    mine, lists = tmp_path / "mine", tmp_path / "lists"
    mine.mkdir()
    lists.mkdir()
    for number in range(3000):
        (mine / f"{number:04}.txt").write_text(f"{number} " * 9)
    (lists / "a.txt").write_text("".join(f"bad{number}.example\n" for number in range(20_000)))
    source = open_source(mine)
    shards = spool([source], tmp_path / "spool")
    reader = SpoolReader(tmp_path / "spool", {(source.card.name, "all"): source.parts["all"]})
    blocked = BlockedUrl(lists)
    assert blocked.fault(Draft("", "", "", url="https://bad9.example/x"))
    packed = pickle.dumps([reader, blocked])
    assert len(packed) < 5000
    reader, blocked = pickle.loads(packed)
    assert blocked.fault(Draft("", "", "", url="https://bad19999.example/x")).startswith("bad19999.example")
    read = [document.metadata["member"] for rank in range(len(shards)) for document in reader.run(None, rank, 1)]
    assert len(shards) > 5 and read == [f"{number:04}.txt" for number in range(3000)]


def test_a_corrupt_archive_loses_no_good_record_and_hides_no_bad_one(store: Store, tmp_path: Path) -> None:
    from tests.tasks.sources.archives import make_tar

    lines = [json.dumps({"text": ENGLISH.format(hex(i * 7919) * 9)}) for i in range(40)]
    members = {f"{i:02}.jsonl": line.encode() for i, line in enumerate(lines)}
    path = make_tar(tmp_path / "mine.tar", members | {"../evil.jsonl": b"{}"}, "w:")
    path.write_bytes(path.read_bytes()[: 1024 * 20 + 540])
    artifact = made(store, path, languages=("en",), max_repetition=1.0)
    reasons = [row["detail"] for row in table(artifact, "ledger") if row["reason"] == "quarantined"]
    assert len(table(artifact, "ledger")) == 20 + len(reasons)
    assert len(reasons) >= 1


def test_a_member_added_twice_is_read_once_and_told(store: Store, tmp_path: Path) -> None:
    lines = [json.dumps({"text": ENGLISH.format(hex(i * 7919) * 9)}) for i in range(4000)]
    path = tmp_path / "mine.tar"
    with tarfile.open(path, "w") as archive:
        for some in (lines[:2000], lines[2000:], lines[:1]):
            data = "\n".join(some).encode()
            info = tarfile.TarInfo("a.jsonl")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    ledger = table(made(store, path, languages=("en",), max_repetition=1.0), "ledger")
    assert len({row["id"] for row in ledger}) == len(ledger) == 2002
    set_aside = [row for row in ledger if row["reason"] == "quarantined"]
    assert [(row["member"], row["offset"]) for row in set_aside] == [("a.jsonl", 1), ("a.jsonl", 2)]
    assert all("a member of this name stands before" in row["detail"] for row in set_aside)


def test_a_corpus_with_nothing_in_it_is_an_error_that_says_why(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(StageError, match="1 of 1 records could not be read"):
        made(store, tmp_path / "a.jsonl")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(StageError, match="no records"):
        made(store, tmp_path / "nothing")
    (tmp_path / "a.jsonl").write_text('{"text": "short"}\n{"text": "brief"}\n')
    with pytest.raises(StageError, match=r"nothing left to train on.*read 2.*length 2"):
        made(store, tmp_path / "a.jsonl", languages=("en", "de", "fr", "da", "nl", "it", "sv"))


def test_an_unknown_source_stops_before_anything_runs(store: Store) -> None:
    with pytest.raises(StageError, match="micro-verses"):
        made(store, "micro-verse")


def test_a_source_named_twice_is_an_error(store: Store) -> None:
    with pytest.raises(StageError, match=r"content\.jsonl is read twice"):
        made(store, "micro-verses", "micro-verses/verses")


@pytest.mark.parametrize(
    "wrong",
    [{"languages": ("chinese",)}, {"min_characters": 9, "max_characters": 8}, {"validation": 0}, {"minimum": 1}],
)
def test_a_config_that_cannot_be_meant_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CorpusConfig(**wrong)


def test_a_file_of_many_row_groups_has_its_own_size(store: Store, tmp_path: Path) -> None:
    texts = [ENGLISH.format(hex(i * 7919) * 9) for i in range(1000)]
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"text": texts}), path, row_group_size=200)
    artifact = made(store, path, languages=("en",), max_repetition=1.0)
    (source,) = json.loads((artifact.path / "sources.json").read_text())
    assert len(list((artifact.path / "ledger").iterdir())) > 1
    assert source["files"] == [{"member": "content.parquet", "bytes": path.stat().st_size}]


def test_what_is_published_of_a_source_holds_no_secret(tmp_path: Path) -> None:
    card = Card(
        name="mine", uri="https://ada:s3cret@host/a.jsonl?token=s3cret", sha256="ab" * 32, parts={"all": Part()}
    )
    assert describe(Source(card, tmp_path / "a.jsonl", card.sha256), [])["uri"] == "https://host/a.jsonl"
