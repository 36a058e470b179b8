"""Charts as inline SVG, legible on light and dark pages."""

from __future__ import annotations

import io
from typing import Any

INK = "#7a828e"  # a grey that reads on white and on near-black
LINE = "#4c8dff"


def curve(points: list[dict[str, Any]], name: str, title: str) -> str:
    """A line chart of one column over steps; empty when there are fewer than two points."""
    drawn = [(p["step"], p[name]) for p in points if name in p]
    if len(drawn) < 2:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*drawn, strict=True), color=LINE, linewidth=1.4)
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_xlabel("step", color=INK, fontsize=8)
    axes.tick_params(colors=INK, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in {"left", "bottom"})
    image = io.StringIO()
    with rc_context({"svg.hashsalt": name}):  # the same points, the same bytes
        figure.savefig(image, format="svg", transparent=True, metadata={"Date": None})
    text = image.getvalue()
    return text[text.index("<svg") :]
