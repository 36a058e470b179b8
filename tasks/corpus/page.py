"""The page that shows what the corpus stage did: the waterfall, and records to look at."""

from __future__ import annotations

from itertools import groupby
from typing import Any


def render(waterfall: list[dict[str, Any]], records: list[dict[str, Any]], sources: list[dict[str, Any]]) -> str:
    """One HTML text without any outside resource; everything from the records is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    page = Environment(loader=PackageLoader("tasks.corpus", "."), autoescape=True, undefined=StrictUndefined)
    page.filters["number"] = lambda value: f"{value:,}"
    shown = [record for record in records if record["draw"] != "audit"]
    groups = [(draw, of, list(rows)) for (draw, of), rows in groupby(shown, key=lambda r: (r["draw"], r["of"]))]
    before = [waterfall[0], *waterfall]
    falls = [
        {**step, "lost": above["documents"] - step["documents"]} for above, step in zip(before, waterfall, strict=False)
    ]
    first, last = waterfall[0], waterfall[-1]
    return page.get_template("page.html").render(
        waterfall=[fall for fall in falls if fall["lost"] or fall["step"] == "read"]
        + [last | {"step": "kept", "lost": 0}],
        first=first,
        last=last,
        tables=[("language", first["languages"], last["languages"]), ("source", first["sources"], last["sources"])],
        idle=[fall["step"] for fall in falls[1:] if not fall["lost"]],
        groups=groups,
        sources=sources,
    )
