"""Comparing the scores of a model before and after quantization."""

from __future__ import annotations

Scores = dict[str, float]
MEASURE = "bits_per_byte"


def refusals(before: Scores, after: Scores, tolerance: float, at_least: dict[str, float]) -> list[str]:
    """Why the quantized model may not go out; empty when it may. `tolerance` is a relative rise of bits per byte."""
    if missing := [name for name, scores in (("scores", before), ("int4_scores", after)) if MEASURE not in scores]:
        return [f"{' and '.join(missing)} lack {MEASURE}, which the gate compares; add it to evaluate.suites"]
    reasons = []
    limit = before["bits_per_byte"] * (1 + tolerance)
    if not after["bits_per_byte"] <= limit:  # written so that NaN is refused
        reasons.append(
            f"bits per byte rose from {before['bits_per_byte']:.4f} to {after['bits_per_byte']:.4f}, more than "
            f"{tolerance:.1%}; lower quantize.tolerance, so that more units keep 8 bits, or raise release.tolerance"
        )
    for name, floor in at_least.items():
        if name not in after:
            reasons.append(f"release.at_least names {name!r}, which was not scored; scored: {', '.join(sorted(after))}")
        elif not after[name] >= floor:
            reasons.append(f"{name} is {after[name]:.4g}, below release.at_least.{name} = {floor:g}")
    return reasons


def compare(before: Scores, after: Scores) -> dict[str, dict[str, float]]:
    """Score name -> its value before and after, for the names that both have."""
    return {name: {"before": before[name], "after": after[name]} for name in sorted(before.keys() & after.keys())}
