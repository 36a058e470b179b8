"""The stage and its configuration."""

from pydantic import Field

from tasks.sources import SourceRef
from tasks.stage import Artifact, Metrics, Output, StageConfig, stage
from tasks.training import OptimizerConfig, TrainingConfig


class LoraConfig(StageConfig):
    """Low-rank adaptation of all linear layers (Hu et al. 2021), merged into the weights at the end.

    The updates themselves stay beside the model, in `adapter/`, for servers that apply them to the base.
    """

    rank: int = Field(16, ge=1, le=1024, description="Rank of the update of each matrix")
    alpha: float = Field(32.0, gt=0, description="The update is scaled by alpha / rank")


class FinetuneOptimizer(OptimizerConfig):
    """The optimizer and its learning-rate schedule."""

    matrix_lr: float = Field(0.02, gt=0, le=1, description="Muon's peak learning rate")


class FinetuneConfig(TrainingConfig):
    """What is learned and for how long."""

    optimizer: FinetuneOptimizer = FinetuneOptimizer()
    poem_requests: int = Field(4000, ge=0, description="Requests made from the corpus's poems; 0 = none")
    dialogues: int = Field(500, ge=0, description="Tool-using dialogues made from the corpus's poems; 0 = none")
    replay: int = Field(
        5000,
        ge=0,
        description="Corpus documents learned whole beside the conversations, so that plain text stays well predicted",
    )
    held_out: int = Field(
        200, ge=1, description="Requests of each kind put aside for evaluation, from validation poems"
    )
    sources: tuple[SourceRef, ...] = Field((), description="Sources of conversations, or own JSON lines of `messages`")
    source_limit: int = Field(1000, ge=1, description="Conversations taken from each source")
    epochs: int = Field(1, ge=1, le=100, description="Passes over the examples")
    seq_len: int = Field(
        512, ge=32, le=131_072, description="Tokens per packed row; longer conversations are put aside"
    )
    micro_batch: int = Field(4, ge=1, le=4096, description="Rows per forward pass")
    accumulation: int = Field(1, ge=1, le=4096, description="Micro-batches per optimizer step")
    lora: LoraConfig | None = Field(None, description="Train low-rank updates instead of all weights")


@stage(libraries=("torch", "transformers", "tokenizers", "lightning", "peft", "pypinyin"))
def finetune(cfg: FinetuneConfig, out: Output, *, base: Artifact, corpus: Artifact) -> Metrics:
    """Fine-tune on chat-templated conversations; the loss counts what the assistant says and nothing else."""
    from tasks.finetune.run import run

    return run(cfg, out, base.path / "model", corpus.path)
