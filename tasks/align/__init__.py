"""The align stage: direct preference optimisation on pairs of answers."""

from tasks.align.stage import AlignConfig, align

__all__ = ["AlignConfig", "align"]
