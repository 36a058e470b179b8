"""`fullchain data check`: a record is good when the stage that it is for can read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.catalogue import check
from tests.command import Fullchain

DOCUMENT = {"text": "Moonlight before my bed.", "instruction": "of the page it was on"}
ANSWERED = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
PREFERRED = {"prompt": "?", "chosen": "good", "rejected": "bad"}


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"foo": 1}, "text: missing; the record has foo"),
        ({"text": 1}, "text: expected a text"),
        ({"paragraphs": "x"}, "paragraphs: expected a list"),
        ({"messages": [{"role": "user", "content": "?"}]}, "last message must be the assistant's"),
        ({"conversations": None}, "conversations: expected a list"),
        ({"prompt": "?", "chosen": "same", "rejected": "same"}, "two different texts"),
        ([1], "a record is a list"),
    ],
)
def test_what_no_stage_can_read_is_bad_and_says_why(tmp_path: Path, bad: Any, reason: str) -> None:
    found = check(write(tmp_path / "a.jsonl", DOCUMENT, bad, ANSWERED, PREFERRED), 10)
    assert (found["records"], found["quarantined"]) == (3, 1)
    assert reason in found["bad"][0]["reason"] and found["bad"][0]["offset"] == 1
    assert found["first"] == DOCUMENT


def test_a_cards_kind_says_which_stage_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", DOCUMENT, ANSWERED)
    card = "name: mine\nuri: a.jsonl\nparts: {all: {kind: %s}}\n"
    for kind, good in {"text": DOCUMENT, "instructions": ANSWERED}.items():
        (tmp_path / "card.yaml").write_text(card % kind)
        found = check(str(tmp_path / "card.yaml"), 10)
        assert (found["first"], found["records"], found["quarantined"]) == (good, 1, 1)


def test_files_of_code_are_read_as_such(tmp_path: Path) -> None:
    rows = [{"content": "x = 1", "name": "a.py", "repo": None}, {"content": "x = 1"}]
    write(tmp_path / "a.jsonl", *rows)
    fields = "{code: content, path: name, repository: repo}"
    (tmp_path / "card.yaml").write_text(f"name: mine\nuri: a.jsonl\nparts: {{all: {{fields: {fields}}}}}\n")
    found = check(str(tmp_path / "card.yaml"), 10)
    assert (found["records"], found["bad"][0]["reason"]) == (1, "path: missing; the record has code")


def test_a_model_has_members_and_no_records(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.gguf").write_bytes(b"\0")
    (tmp_path / "card.yaml").write_text("name: mine\nuri: weights\nparts: {all: {kind: model, format: binary}}\n")
    assert check(str(tmp_path / "card.yaml"), 10)["records"] == 1


def test_the_command_fails_where_nothing_is_good(tmp_path: Path) -> None:
    fullchain = Fullchain(tmp_path / "home")
    said = fullchain("data", "check", write(tmp_path / "a.jsonl", {"foo": 1}), status=1)
    assert "text: missing; the record has foo" in said
    assert "none of 1 record is good" in said and "Traceback" not in said
    assert "none of 1 record is good" in fullchain("data", "check", write(tmp_path / "b.jsonl"), status=1)
    assert fullchain.json("data", "check", write(tmp_path / "c.jsonl", {"foo": 1}, DOCUMENT))["quarantined"] == 1


def test_an_audit_never_overwrites_labels(tmp_path: Path) -> None:
    labelled = tmp_path / "audit.jsonl"
    labelled.write_text('{"label": "keep"}')
    said = Fullchain(tmp_path / "home")("data", "audit", "--out", str(labelled), status=1)
    assert f"{labelled} is there already" in said and "--labels" in said
    assert labelled.read_text() == '{"label": "keep"}'
