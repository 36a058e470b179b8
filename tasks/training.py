"""What pretraining, fine-tuning and alignment share as stages: settings, the way to run a loop, what they write."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.errors import StageError
from tasks.output import Output
from tasks.stage import Runtime, StageConfig

if TYPE_CHECKING:
    from torch import nn

    from models.parallel import Alone
    from models.trainer import Objective, Point


class OptimizerConfig(StageConfig):
    """The optimizer and its learning-rate schedule."""

    name: Literal["muon", "adamw"] = Field("muon", description="muon: Muon for hidden matrices, AdamW for the rest")
    lr: float = Field(3e-3, gt=0, le=1, description="AdamW's peak learning rate")
    matrix_lr: float = Field(0.012, gt=0, le=1, description="Muon's peak learning rate")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Decoupled decay of hidden matrices")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient")
    schedule: Literal["wsd", "cosine", "constant"] = Field("wsd", description="Shape of the learning rate over the run")
    warmup: float = Field(0.03, ge=0, le=1, description="Share of the steps in which the rate rises from 0")
    decay: float = Field(0.5, ge=0, le=1, description="Share of the steps in which wsd falls to 0")


class TrainingConfig(StageConfig):
    """What every training stage can be told."""

    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Literal["bf16", "fp32"] = Field("bf16", description="bf16: autocast over fp32 master weights")
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="torch.compile; auto: when a C++ compiler is there and the run is long enough to gain by it"
    )
    seed: int = Field(0, ge=0, description="Of initial weights and data order")
    log_every: int = Field(10, ge=1, description="Steps between points of the curve")
    checkpoint_every: Runtime[int] = Field(50, ge=1, description="Steps between checkpoints; the last two are kept")
    checkpoints: Runtime[str] = Field(
        "",
        description="Folder or fsspec URL of the checkpoints, such as s3://bucket/run; empty = the stage's own place",
    )
    threads: Runtime[int] = Field(
        0,
        ge=0,
        description="CPU threads, 0 = all cores. Another number adds floats up in another order: last bits differ",
    )


def run_loop(
    cfg: TrainingConfig,
    out: Output,
    model: "nn.Module",
    objective: "Objective",
    micro_batches: Callable[[int], Sequence[Any]],
    steps: int,
    validate: Callable[["nn.Module"], "Point"] | None = None,
    validate_every: int = 0,
    parallel: "Alone | None" = None,
) -> list["Point"]:
    """Train from the last checkpoint in `out.state` to `steps`, telling curve and progress; writes `curve.jsonl`.

    Raises:
        StageError: the loss is no longer finite, with the step and the last checkpoint.
    """
    from models.optim import optimizers, schedule
    from models.trainer import Hooks, Learner, Loop, NonFiniteLoss, train

    o = cfg.optimizer
    learner = Learner(
        model,
        objective,
        optimizers(model, o.name, o.lr, o.matrix_lr, weight_decay=o.weight_decay),
        schedule(o.schedule, steps, o.warmup, o.decay),
        o.clip,
        parallel,
    )
    loop = Loop(
        steps=steps,
        bf16=cfg.precision == "bf16",
        log_every=cfg.log_every,
        validate_every=validate_every,
        checkpoint_every=cfg.checkpoint_every,
        threads=cfg.threads,
    )
    with out.progress("training steps", steps) as bar:
        hooks = Hooks(lambda step, values: out.metrics(step, **values), bar.advance, validate)
        try:
            curve = train(learner, micro_batches, loop, cfg.checkpoints or out.state / "checkpoints", hooks)
        except NonFiniteLoss as problem:
            raise StageError(
                f"optimizer: the loss is not finite at step {problem.step} of {steps}; the last checkpoint is of step "
                f"{problem.checkpoint}; lower optimizer.lr and optimizer.matrix_lr, or lengthen optimizer.warmup"
            ) from problem
    write_lines(out.path / "curve.jsonl", curve)
    return curve


def compiled(cfg: TrainingConfig, model: "nn.Module", tokens: int) -> bool:
    """Whether this run compiles its objective."""
    from models.objectives import should_compile

    return should_compile(cfg.compile, model, tokens)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a Hugging Face directory, without running code from it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def save_model(model: "nn.Module", tokenizer: Any, folder: Path) -> None:
    """A plain Hugging Face directory: config, safetensors, tokenizer, and how to stop generating."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.bos_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Records as JSON lines."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """What a stage found out, for the stages after it and for people."""
    path.write_text(json.dumps(summary, ensure_ascii=False, indent=2), encoding="utf-8")
