"""The finetune stage: supervised fine-tuning on conversations, with loss on the answers only."""

from tasks.finetune.stage import FinetuneConfig, finetune

__all__ = ["FinetuneConfig", "finetune"]
