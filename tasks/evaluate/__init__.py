"""The evaluate stage: bits per byte, and answers to held-out prompts, of a full-precision or an int4 model."""

from tasks.evaluate.stage import EvaluateConfig, evaluate

__all__ = ["EvaluateConfig", "evaluate"]
