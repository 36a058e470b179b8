"""The stage and its configuration."""

from typing import Literal

from pydantic import Field

from tasks.sources import SourceRef
from tasks.stage import Artifact, Metrics, Output, StageConfig, stage
from tasks.training import OptimizerConfig, TrainingConfig


class SampleConfig(StageConfig):
    """How the model under training answers the poem requests."""

    answers: int = Field(4, ge=2, le=16, description="Answers per request")
    temperature: float = Field(0.8, gt=0, le=2, description="Of the draw; higher shows more of what can go wrong")
    top_p: float = Field(0.95, gt=0, le=1, description="Share of probability that may be drawn from")
    max_tokens: int = Field(96, ge=1, description="Tokens of an answer")
    batch: int = Field(64, ge=1, le=1024, description="Answers sampled at once; an interrupted run loses one batch")


class AlignOptimizer(OptimizerConfig):
    """The optimizer and its learning-rate schedule; gentler than those of the other stages."""

    name: Literal["muon", "adamw"] = Field("adamw", description="muon: Muon for hidden matrices, AdamW for the rest")
    lr: float = Field(1e-4, gt=0, le=1, description="AdamW's peak learning rate")
    warmup: float = Field(0.1, ge=0, le=1, description="Share of the steps in which the rate rises from 0")


class AlignConfig(TrainingConfig):
    """Where preferences come from and how strongly they pull."""

    optimizer: AlignOptimizer = AlignOptimizer()
    poem_requests: int = Field(480, ge=0, description="Requests made from the corpus's poems; 0 = none")
    sample: SampleConfig = SampleConfig()
    sources: tuple[SourceRef, ...] = Field((), description="Sources of preferences: chosen and rejected answers")
    source_limit: int = Field(1000, ge=1, description="Preferences taken from each source")
    beta: float = Field(
        2.0, gt=0, le=100, description="How dearly leaving the fine-tuned model costs (Rafailov et al.)"
    )
    imitation: float = Field(1.0, ge=0, description="Weight of the chosen answers' own likelihood")
    per_token: bool = Field(True, description="Compare log-probabilities per token instead of their sums")
    epochs: int = Field(2, ge=1, le=100, description="Passes over the pairs")
    seq_len: int = Field(512, ge=32, le=131_072, description="Longest prompt and answer; longer pairs are put aside")
    pairs_per_step: int = Field(16, ge=1, le=4096, description="Pairs per optimizer step")
    micro_batch: int = Field(16, ge=1, le=4096, description="Pairs per forward pass")
    log_every: int = Field(2, ge=1, description="Steps between points of the curve")


@stage(libraries=("torch", "transformers", "lightning", "pypinyin"))
def align(cfg: AlignConfig, out: Output, *, model: Artifact, corpus: Artifact) -> Metrics:
    """Prefer good answers to bad ones by direct preference optimisation (Rafailov et al. 2023)."""
    from tasks.align.run import run

    return run(cfg, out, model.path, corpus.path)
