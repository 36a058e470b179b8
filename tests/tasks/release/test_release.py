"""The gate: what it lets through, what it refuses and in which words, and the package it lays out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.release import ReleaseConfig, release
from tasks.release.gate import refusals
from tasks.stage import StageError
from tests.stages import attempt


@given(st.floats(0.1, 10), st.floats(0, 0.5), st.floats(0, 1))
def test_a_rise_within_the_tolerance_passes_and_beyond_it_is_refused(
    before: float, tolerance: float, share: float
) -> None:
    scores = {"bits_per_byte": before}
    assert refusals(scores, {"bits_per_byte": before * (1 + tolerance * share * 0.999)}, tolerance, {}) == []
    assert refusals(scores, {"bits_per_byte": before * (1 + tolerance + 0.001)}, tolerance, {})


@pytest.mark.parametrize(
    ("before", "after", "at_least", "said"),
    [
        ({"bits_per_byte": 2.0}, {"bits_per_byte": math.nan}, {}, "rose from 2.0000 to nan"),
        ({"bits_per_byte": 2.0}, {"bits_per_byte": 2.1}, {}, "more than 2.0%"),
        ({"bits_per_byte": 2.0}, {"form": 1.0}, {}, "int4_scores lack bits_per_byte"),
        ({"bits_per_byte": 2.0}, {"bits_per_byte": 2.0}, {"form": 0.9}, "was not scored; scored: bits_per_byte"),
        ({"bits_per_byte": 2.0}, {"bits_per_byte": 2.0, "form": 0.5}, {"form": 0.9}, "form is 0.5, below"),
    ],
)
def test_a_refusal_says_what_and_by_how_much(
    before: dict[str, float], after: dict[str, float], at_least: dict[str, float], said: str
) -> None:
    (reason,) = refusals(before, after, 0.02, at_least)
    assert said in reason


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    for name, bits in (("scores", 2.0), ("int4_scores", 2.01)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(json.dumps({"bits_per_byte": bits, "form": 0.95}))
    (tmp_path / "model" / "model").mkdir(parents=True)
    (tmp_path / "model" / "model" / "model.onnx").write_bytes(b"graph")
    return {name: tmp_path / name for name in ("model", "scores", "int4_scores")}


def test_the_package_is_the_model_and_a_card_of_both_scores(tmp_path: Path, inputs: dict[str, Path]) -> None:
    path, metrics = attempt(release, ReleaseConfig(), tmp_path / "run", **inputs)
    assert (path / "model" / "model.onnx").read_bytes() == b"graph"
    card = json.loads((path / "card.json").read_text())
    assert card["scores"]["form"] == {"before": 0.95, "after": 0.95}
    assert metrics["bits_per_byte_rise"] == pytest.approx(0.005)


def test_a_refused_model_is_no_release(tmp_path: Path, inputs: dict[str, Path]) -> None:
    with pytest.raises(StageError, match="the gate refuses the quantized model: bits per byte rose"):
        attempt(release, ReleaseConfig(tolerance=0.001), tmp_path / "run", **inputs)
