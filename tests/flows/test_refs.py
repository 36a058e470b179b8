"""What a REF or a stage's name means, and what is said when it means nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from flows.refs import ancestor, of_stage, report_card
from flows.run import run_chain
from flows.talk import told
from tasks.apply.agent import Run, Step
from tasks.errors import StageError
from tasks.store import Store
from tests.command import Fullchain


@pytest.fixture
def built(store: Store, toy: ModuleType) -> Store:
    run_chain(toy.chain, toy.Config(), store)
    return store


def test_artifacts_are_listed_by_stage_and_by_label(built: Store) -> None:
    assert {a.provenance["label"] for a in of_stage("*", built)} == {"words", "upper", "upper-again", "total"}
    assert {a.provenance["label"] for a in of_stage("upper", built)} == {"upper", "upper-again"}
    assert [a.provenance["label"] for a in of_stage("upper-again", built)] == ["upper-again"]


def test_a_stage_of_the_chain_that_was_never_built_has_none(built: Store) -> None:
    assert of_stage("evaluate-int4", built) == []
    with pytest.raises(StageError, match="no stage 'corpuss'; did you mean corpus"):
        of_stage("corpuss", built)


def test_ls_of_a_mistyped_stage_ends_with_status_1(tmp_path: Path) -> None:
    assert "did you mean corpus" in Fullchain(tmp_path)("ls", "corpuss", status=1)
    assert Fullchain(tmp_path).json("ls", "corpus") == []


def test_only_a_report_has_a_report_card(built: Store) -> None:
    (total,) = of_stage("total", built)
    with pytest.raises(StageError, match=rf"{total.key} is an artifact of total.*report@"):
        report_card(total.key, built)
    (total.path / "report.html").write_text("a card")
    assert report_card(total.key, built) == total.path / "report.html"


def test_an_ancestor_that_cannot_be_had_is_named_with_the_reason(built: Store) -> None:
    (total,), (words,) = of_stage("total", built), of_stage("words", built)
    assert ancestor(total, "words", built).key == words.key
    (words.path / "words.txt").write_text("altered")
    with pytest.raises(StageError, match=rf"not made from any words.*{words.key}, is gone \(words.txt was changed"):
        ancestor(total, "words", built)


def test_an_agent_that_does_not_answer_has_failed() -> None:
    assert told(Run([], answer="静夜思", ended="answered")) == "静夜思"
    with pytest.raises(StageError, match="no answer within 1 tool call"):
        told(Run([], [Step("search_poems", "{}", "{}", True)]))


def test_a_fetched_source_is_told_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a"}))
    found = Fullchain(tmp_path / "home").json("data", "get", str(tmp_path / "a.jsonl"))
    assert found["path"] == str(tmp_path / "a.jsonl")
    assert len(found["sha256"]) == 64
