"""The flows' settings: what a run runs is what its plan showed, and a form lies over its preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import deployments
from flows.config import ChainConfig, load
from flows.verbs.chain import run
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
