"""Mistyped names."""

from __future__ import annotations

import difflib


def nearest(name: str, valid: list[str]) -> str:
    """ "did you mean" for a mistyped name: the closest valid ones, or all of them when none is close."""
    close = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"valid: {', '.join(valid)}"
