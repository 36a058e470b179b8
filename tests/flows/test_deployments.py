"""The flows' settings: what a run runs is what its plan showed, and a form lies over its preset."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from flows import deployments
from flows.config import ChainConfig, load
from flows.deployments import ChainForm
from flows.verbs.chain import run
from tasks.errors import StageError
from tasks.store import Store


@pytest.fixture
def ran(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[ChainConfig]:
    """What would be run, in place of running it."""
    seen: list[ChainConfig] = []
    monkeypatch.setattr(deployments, "_run", lambda cfg, _selection: seen.append(cfg) or {})
    monkeypatch.setattr(deployments, "chain", deployments.chain.fn)  # without a server of Prefect's
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")
    return seen


@pytest.mark.parametrize(
    ("preset", "sets"),
    [
        ("smollm2", ["finetune.optimizer={name: muon}"]),  # what it leaves open is not smollm2's
        ("8xgpu-1b8", ["pretrain.size=null"]),
        ("sized", ["pretrain.accumulation=4"]),  # which stands against the batch of the size
        ("halved", ["pretrain.heads=2"]),  # valid together only
    ],
)
def test_a_run_runs_the_settings_that_its_plan_shows(
    tmp_path: Path, ran: list[ChainConfig], preset: str, sets: list[str]
) -> None:
    (tmp_path / "sized.yaml").write_text("pretrain: {size: 7M}\n")
    (tmp_path / "halved.yaml").write_text("extends: micro\npretrain: {heads: 3}\n")
    own = tmp_path / f"{preset}.yaml"
    named = str(own) if own.exists() else preset
    run(named, sets)
    assert ran == [load(named, tuple(sets))]


def filled(ran: list[ChainConfig], stage: str, preset: str, config: dict[str, Any]) -> ChainConfig:
    """What a deployment's flow runs when its form is filled in so."""
    flow = getattr(deployments, stage)
    form = flow.validate_parameters({"preset": preset, "config": config, "force": False})
    flow.fn(**form)
    return ran.pop()


def test_a_form_changes_what_it_sets_and_replaces_mappings_whole(ran: list[ChainConfig]) -> None:
    preset = load("web-zh-en")
    given = ChainForm.model_validate({"corpus": {"classifiers": {}}, "pretrain": {"optimizer": {"lr": 0.5}}})
    changed = load("web-zh-en", form=given)
    assert changed.corpus.classifiers == {} != preset.corpus.classifiers
    assert changed.corpus.sources == preset.corpus.sources
    assert changed.pretrain.optimizer == preset.pretrain.optimizer.model_copy(update={"lr": 0.5})
    assert filled(ran, "pretrain", "web-zh-en", {"optimizer": {"lr": 0.5}}).pretrain == changed.pretrain
    assert filled(ran, "pretrain", "web-zh-en", {}) == preset


def test_a_form_need_not_fit_the_defaults_but_its_preset(ran: list[ChainConfig], tmp_path: Path) -> None:
    assert filled(ran, "pretrain", "micro", {"heads": 4}).pretrain.kv_heads == 1
    with pytest.raises(StageError, match=r"micro: pretrain: .*hidden_size 64 must be divisible by heads 3"):
        filled(ran, "pretrain", "micro", {"heads": 3})
    (tmp_path / "books.yaml").write_text("corpus: {max_characters: 1_000_000}\n")
    assert filled(ran, "corpus", str(tmp_path / "books.yaml"), {"min_characters": 300_000})


def test_a_size_in_a_form_leaves_what_the_preset_says_itself(ran: list[ChainConfig]) -> None:
    preset, changed = load("8xgpu-1b8").pretrain, filled(ran, "pretrain", "8xgpu-1b8", {"size": "8B"}).pretrain
    assert (changed.tokens, changed.accumulation, changed.optimizer) == (
        preset.tokens,
        preset.accumulation,
        preset.optimizer,
    )
    assert changed.layers == 48


def test_the_bounds_of_a_form_are_those_of_the_settings(ran: list[ChainConfig]) -> None:
    with pytest.raises(ParameterTypeError, match="greater than or equal to 1"):
        filled(ran, "pretrain", "micro", {"layers": 0})
    form, settings = ChainForm.model_json_schema(), ChainConfig.model_json_schema()
    assert form == settings


def test_a_report_is_linked_where_a_browser_finds_mlflow(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    report = SimpleNamespace(path=store.home, provenance={"mlflow_run_id": "r1"})
    tracker = SimpleNamespace(experiment_id="7")
    assert deployments._page(report, tracker) == (store.home / "report.html").as_uri()
    monkeypatch.setenv("FULLCHAIN_MLFLOW_URL", "https://team.example/mlflow/")
    page = "https://team.example/mlflow/#/experiments/7/runs/r1/artifacts/report.html"
    assert deployments._page(report, tracker) == page
