"""The report card of the micro chain: one file that stands alone and shows what was made."""

from __future__ import annotations

import json
import re

import pytest

from flows.refs import resolve
from tasks.report.charts import curve
from tasks.report.page import render
from tasks.store import Store
from tests.command import STAGES, Fullchain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(micro: Fullchain) -> Store:
    return Store(micro.home)


@pytest.fixture(scope="module")
def page(store: Store) -> str:
    return (resolve("report@micro", store).path / "report.html").read_text(encoding="utf-8")


def test_it_loads_nothing_from_anywhere(page: str) -> None:
    without_links = re.sub(r"<a [^>]*>", "", page)
    loaded = re.findall(r"(?:src|href|url)\s*[=(]\s*['\"]?([^'\")\s>]+)", without_links)
    assert [address for address in loaded if not address.startswith(("#", "data:"))] == []
    assert "<script src" not in page


def test_every_stage_is_there_with_its_key_and_time(page: str, store: Store) -> None:
    for label in set(STAGES) - {"report"}:
        made = resolve(f"{label}@micro", store)
        assert made.key in page
        assert label in page


def test_its_links_lead_to_the_artifacts(page: str, store: Store) -> None:
    folder = resolve("report@micro", store).path
    links = re.findall(r'<a href="([^"]+)"', page)
    assert len(links) == len(STAGES) - 1
    assert all((folder / link / "artifact.json").is_file() for link in links)


def test_the_waterfall_the_scores_and_the_source_are_the_artifacts_own(page: str, store: Store) -> None:
    corpus = resolve("corpus@micro", store)
    for row in json.loads((corpus.path / "waterfall.json").read_text()):
        assert f"{row['documents']:,}" in page
    (source,) = json.loads((corpus.path / "sources.json").read_text())
    assert source["sha256"] in page
    assert page.count("<svg") >= 2
    samples = (resolve("evaluate-int4@micro", store).path / "samples.jsonl").read_text().splitlines()
    assert json.loads(samples[0])["prompt"].splitlines()[0] in page


def test_what_a_model_says_cannot_become_markup(store: Store) -> None:
    from tasks.report.facts import Run

    made = [resolve(f"{label}@micro", store) for label in STAGES if label != "report"]
    by_label = {a.provenance["label"]: a for a in made}
    shown = render(
        "<script>alert(1)</script>", Run(made, ""), {}, by_label["corpus"], by_label["evaluate"],
        by_label["evaluate-int4"], by_label["apply"], 3,
    )  # fmt: skip
    assert "<script>alert(1)</script>" not in shown
    assert "&lt;script&gt;" in shown


def test_the_same_curve_is_the_same_picture() -> None:
    points = [{"step": step, "loss": 5.0 - step} for step in range(4)]
    assert curve(points, "loss", "loss") == curve(points, "loss", "loss")
    assert curve(points[:1], "loss", "loss") == ""
