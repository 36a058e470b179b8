"""The pretrain stage: next-token prediction from scratch, or further from a given model."""

from tasks.pretrain.stage import PretrainConfig, pretrain

__all__ = ["PretrainConfig", "pretrain"]
