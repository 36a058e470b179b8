"""References, cards and opened sources."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tasks.sources import Bad, Card, Record, SourceRef, catalogue, load_card, open_source
from tasks.stage import StageError
from tests.tasks.sources.archives import GOOD, MAKERS, make_folder, make_zip


@pytest.mark.parametrize("name", catalogue())
def test_every_card_of_the_catalogue_is_whole(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert card.licence != "unknown" and card.rights and card.title
    assert SourceRef(name).identity()["sha256"]


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(StageError, match="chinese-poetry"):
        open_source("chinese-poems")
    with pytest.raises(StageError, match=r"no part 'ming'.*tang, song, ci, yuan"):
        open_source("chinese-poetry/ming")
    with pytest.raises(StageError, match="does not exist"):
        open_source("./nowhere/poems.jsonl")


def test_a_uri_must_be_pinned() -> None:
    with pytest.raises(StageError, match="#sha256="):
        SourceRef("https://example.org/a.jsonl").identity()
    with pytest.raises(StageError, match=r"'https://example\.org/a\.jsonl' is not pinned"):
        SourceRef("https://ada:s3cret@example.org/a.jsonl?token=s3cret").identity()
    pinned = SourceRef(f"pypi:moon==1.0#sdist&sha256={'ab' * 32}")
    assert pinned.card()[0].uri == "pypi:moon==1.0#sdist"
    assert pinned.identity()["sha256"] == "ab" * 32


def test_identity_is_the_bytes_never_the_place(tmp_path: Path) -> None:
    for name in ("one/a.jsonl", "two/b.jsonl"):
        make_folder(tmp_path, {name: b'{"text": "x"}\n'})
    make_folder(tmp_path, {"three/a.jsonl": b'{"text": "y"}\n', "four/a.txt": b'{"text": "x"}\n'})
    a, b, changed, other = (
        SourceRef(str(tmp_path / n)).identity() for n in ("one/a.jsonl", "two/b.jsonl", "three/a.jsonl", "four/a.txt")
    )
    assert a == b
    assert a != changed
    assert a != other, "the suffix tells how to read it"
    assert str(tmp_path) not in json.dumps(a)


def test_a_change_to_the_reading_rules_changes_the_identity(tmp_path: Path) -> None:
    card = {"name": "mine", "uri": "a.jsonl", "parts": {"all": {"fields": {"text": "body"}}}}
    (tmp_path / "a.jsonl").write_text('{"body": "x", "title": "y"}\n')
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    before = SourceRef(str(tmp_path / "card.yaml")).identity()
    assert next(open_source(tmp_path / "card.yaml").records()).data == {"text": "x"}
    card["parts"]["all"]["fields"] = {"text": "title"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    assert SourceRef(str(tmp_path / "card.yaml")).identity() != before
    assert next(open_source(tmp_path / "card.yaml").records()).data == {"text": "y"}


def test_a_local_card_may_pin_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    card = {"name": "mine", "uri": "a.jsonl", "sha256": "0" * 64, "parts": {"all": {}}}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(StageError, match="its card expects 0000"):
        open_source(tmp_path / "card.yaml")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("{", "not readable as YAML"),
        ("name: X y\nuri: a\nparts: {all: {}}", "name"),
        ("name: x\nuri: a\nparts: {}", "parts"),
        ("name: x\nuri: a\nparts: {all: {format: docx}}", r"parts.all.format.*json"),
        ("name: x\nuri: a\nparts: {all: {}}\nlicense: MIT", "license"),
        ("name: x\nuri: npm:x@1\nparts: {all: {}}", "sha256"),
    ],
)
def test_a_card_that_does_not_hold_names_the_field(card: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(card)
    with pytest.raises(StageError, match=said):
        open_source(tmp_path / "card.yaml")


def test_a_reference_is_a_plain_text_in_configs() -> None:
    class Config(BaseModel):
        sources: tuple[SourceRef, ...]

    config = Config.model_validate({"sources": ["chinese-poetry/tang"]})
    assert config.model_dump(mode="json") == {"sources": ["chinese-poetry/tang"]}
    assert list(config.sources[0].identity()["parts"]) == ["tang"]


@pytest.mark.parametrize("name", MAKERS)
def test_members_read_extract_and_records(name: str, tmp_path: Path) -> None:
    source = open_source(MAKERS[name](tmp_path / name, GOOD))
    assert sorted(source.members()) == sorted(GOOD)
    assert source.members("data/*") == ["data/a.jsonl"]
    assert source.read("data/a.jsonl") == GOOD["data/a.jsonl"]
    assert source.extract("data/sub/b.jsonl", tmp_path / "out").read_bytes() == GOOD["data/sub/b.jsonl"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.jsonl"]
    found = [r for r in source.records() if isinstance(r, Record)]
    assert [r.data["text"] for r in found] == ["one", "two", "three"]


def test_a_member_that_is_missing_or_unsafe_is_named(tmp_path: Path) -> None:
    source = open_source(make_zip(tmp_path / "x.zip", {**GOOD, "../evil.jsonl": b"{}"}))
    with pytest.raises(StageError, match=r"nothing.txt.*no such member; it has data/a.jsonl"):
        source.read("nothing.txt")
    with pytest.raises(StageError, match="unsafe path"):
        source.extract("../evil.jsonl", tmp_path / "out")
    assert [r.reason for r in source.records() if isinstance(r, Bad)] == ["unsafe path"]


def test_parts_overlap_as_they_like() -> None:
    card = Card(name="x", uri="y", parts={"a": {"members": ["*.json"]}, "b": {"members": ["*.json", "*.txt"]}})
    assert card.part_names() == ["a", "b"] and card.part_names("b") == ["b"]
