"""The stage and its configuration."""

from typing import Any

from pydantic import Field

from tasks.cluster import ParallelConfig
from tasks.sources import SourceRef
from tasks.stage import Artifact, Metrics, Output, Runtime, stage
from tasks.training import TrainingConfig


class PretrainConfig(TrainingConfig):
    """The network's size and how long it learns."""

    hidden_size: int = Field(192, ge=16, le=16_384, description="Width of the network")
    layers: int = Field(4, ge=1, le=200, description="Depth of the network")
    heads: int = Field(3, ge=1, le=256, description="Attention heads; hidden_size must be divisible by them")
    kv_heads: int = Field(3, ge=1, le=256, description="Key/value heads; heads must be divisible by them")
    intermediate_size: int = Field(512, ge=16, le=65_536, description="Width inside the gated MLP")
    context: int = Field(1024, ge=32, le=1_048_576, description="Longest sequence the model may see later")
    tie_embeddings: bool = Field(True, description="One matrix for the embedding and the output head")
    tokens: int = Field(2_800_000, ge=0, description="Training tokens; 0 keeps the initial weights")
    micro_batch: int = Field(16, ge=1, le=4096, description="Sequences per forward pass")
    accumulation: int = Field(1, ge=1, le=4096, description="Micro-batches per optimizer step")
    validate_every: int = Field(0, ge=0, description="Steps between validations; 0 = only at the end")
    validation_tokens: int = Field(60_000, ge=1, description="Tokens of the validation split to measure on")
    parallel: Runtime[ParallelConfig] = Field(ParallelConfig(), description="Processes and what they share")
    init_from: SourceRef | None = Field(None, description="A model source to continue from instead of random weights")

    def model_post_init(self, _: Any) -> None:
        """Sizes that must fit each other."""
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be divisible by heads {self.heads}, "
                f"and heads by kv_heads {self.kv_heads}"
            )


@stage(libraries=("torch", "transformers", "lightning"), runs=("tasks.pretrain.worker",))
def pretrain(cfg: PretrainConfig, out: Output, *, tokens: Artifact, tokenizer: Artifact) -> Metrics:
    """Pretrain an InternLM3 language model on packed tokens, with exact resume and validation in bits per byte."""
    from tasks.pretrain.run import run

    return run(cfg, out, tokens.path, tokenizer.path)
