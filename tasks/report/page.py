"""Putting the facts into the page."""

from __future__ import annotations

from typing import Any

from tasks.artifact import Artifact
from tasks.report.charts import curve
from tasks.report.facts import Run, read_json, read_jsonl


def render(
    title: str, run: Run, trained: dict[str, Artifact], corpus: Artifact, scores: Artifact, int4_scores: Artifact,
    trial: Artifact, samples: int,
) -> str:  # fmt: skip
    """The page as one HTML text without any outside resource. Everything read from artifacts is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    page = Environment(loader=PackageLoader("tasks.report", "."), autoescape=True, undefined=StrictUndefined)
    page.filters["number"] = number
    before, after = (read_json(a.path / "scores.json") for a in (scores, int4_scores))
    return page.get_template("page.html").render(
        title=title,
        run=run,
        waterfall=read_json(corpus.path / "waterfall.json"),
        sources=read_json(corpus.path / "sources.json"),
        curves=[curve(read_jsonl(a.path / "curve.jsonl"), "loss", f"{name}: loss") for name, a in trained.items()],
        scores=[(name, before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())],
        samples=read_jsonl(int4_scores.path / "samples.jsonl", samples),
        trial=read_json(trial.path / "trial.json"),
    )


def number(value: Any) -> str:
    """A figure for people: thousands apart, four significant digits, the rest as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
