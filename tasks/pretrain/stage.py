"""The stage and its configuration."""

from typing import Any

from pydantic import Field, model_validator

from tasks.cluster import ParallelConfig
from tasks.pretrain.sizes import SizeName, with_size
from tasks.sources import SourceRef
from tasks.stage import Artifact, Metrics, Output, Runtime, stage
from tasks.training import TrainingConfig


class PretrainConfig(TrainingConfig):
    """The network's size and how long it learns."""

    size: SizeName | None = Field(
        None, description="A network of about so many parameters; sets the shape and how it learns, where not given"
    )
    architecture: str = Field(
        "internlm3", pattern=r"^[a-z0-9_-]+$", description="Any causal language model of transformers, by model type"
    )
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
    batch_tokens: int = Field(
        0, ge=0, description="Tokens per optimizer step, instead of accumulation; 0 = accumulation counts"
    )
    ramp: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the tokens in which the batch grows from one micro-batch to its full size",
    )
    z_loss: float = Field(0.0, ge=0, le=1, description="Weight of the squared log-partition, 1e-4 in PaLM; 0 = none")
    samples: Runtime[int] = Field(
        2, ge=0, le=64, description="Texts written at every validation, to logs/samples.jsonl"
    )
    validate_every: int = Field(0, ge=0, description="Steps between validations; 0 = only at the end")
    validation_tokens: int = Field(60_000, ge=1, description="Tokens of the validation split to measure on")
    parallel: Runtime[ParallelConfig] = Field(ParallelConfig(), description="Processes and what they share")
    init_from: SourceRef | None = Field(None, description="A model source to continue from instead of random weights")

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: Any) -> Any:
        return with_size(values) if isinstance(values, dict) else values

    def micro_batches(self, seq_len: int) -> int:
        """Of an optimizer step: `accumulation`, or as many as come nearest to `batch_tokens`."""
        if not self.batch_tokens:
            return self.accumulation
        return max(1, round(self.batch_tokens / (self.micro_batch * seq_len)))

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
