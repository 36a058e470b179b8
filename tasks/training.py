"""What pretraining, fine-tuning and alignment share as stages: settings, the way to run a loop, what they write."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from models.kernels import Kernel
from tasks.alerts import Notices
from tasks.errors import StageError
from tasks.output import Output
from tasks.stage import Runtime, StageConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.learner import Objective, Point
    from models.parallel import Alone
    from models.recorder import Loop


log = logging.getLogger(__name__)


class GuardConfig(StageConfig):
    """What counts as a broken training step, and how often the run may go back and leave its data out."""

    spikes: bool = Field(True, description="Roll back finite spikes of loss and gradient norm, too, not only NaN")
    window: int = Field(64, ge=8, le=10_000, description="Past steps that say what is normal")
    deviations: float = Field(
        8.0, ge=3, description="A spike lies so many robust standard deviations (1.48 MAD) above the median"
    )
    loss_rise: float = Field(1.25, ge=1, description="... and is at least so many times the median loss")
    norm_rise: float = Field(8.0, ge=1, description="... or so many times the median gradient norm")
    rollbacks: int = Field(3, ge=0, le=100, description="Rollbacks of a run; the next anomaly stops it")
    skip: int = Field(1, ge=1, description="Data steps left out by the first rollback; each further one doubles it")
    stall_seconds: Runtime[int] = Field(
        900, ge=0, description="A step longer than this writes every thread's stack to the logs; 0 = nobody watches"
    )


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
    guard: GuardConfig = GuardConfig()
    precision: Literal["bf16", "fp32", "fp8"] = Field(
        "bf16",
        description="bf16: autocast over fp32 master weights; fp8: as bf16, with the layers' matrix products in 8 bits "
        "(GPUs of compute capability 8.9 or more)",
    )
    attention: Runtime[Kernel] = Field(
        "auto",
        description="Kernel of attention; auto: packed on CPUs, flash, flex or sdpa on GPUs, the first that fits. Last "
        "bits differ",
    )
    deterministic: bool = Field(
        True, description="Kernels that add in a fixed order; without it GPUs are faster and no run can be repeated"
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="torch.compile; auto: when a C++ compiler is there and the run is long enough to gain by it"
    )
    activation_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, a third more arithmetic"
    )
    seed: int = Field(0, ge=0, description="Of initial weights and data order")
    log_every: int = Field(10, ge=1, description="Steps between points of the curve")
    checkpoint_every: Runtime[int] = Field(
        50, ge=1, description="Steps between checkpoints; the last two are kept, and the best of those validated"
    )
    checkpoints: Runtime[str] = Field(
        "",
        description="Folder or fsspec URL under which checkpoints lie by key, such as s3://bucket/checkpoints; empty = "
        "the stage's own place",
    )
    threads: Runtime[int] = Field(
        0,
        ge=0,
        description="CPU threads, 0 = all cores. Another number adds floats up in another order: last bits differ",
    )

    @property
    def half(self) -> bool:
        """Whether the network computes in 16 bits (or fewer) under autocast."""
        return self.precision != "fp32"


def run_loop(
    cfg: TrainingConfig,
    out: Output,
    model: "nn.Module",
    objective: "Objective",
    micro_batches: Callable[[int], Sequence[Any]],
    steps: int,
    validate: Callable[["nn.Module"], "Point"] | None = None,
    validate_every: int = 0,
    sample: Callable[[int, "nn.Module"], None] = lambda *_: None,
    parallel: "Alone | None" = None,
    stop: Callable[[], bool] = lambda: False,
) -> list["Point"]:
    """Train from the last checkpoint to `steps`; writes `curve.jsonl` and the guard's `events.jsonl`.

    `stop` is asked before every step, whether to save and end as at SIGTERM.

    Raises:
        StageError: the run diverged, or the checkpoints are another model's.
    """
    from models.checkpoint import Mismatch
    from models.learner import Learner
    from models.optim import optimizers, schedule
    from models.recorder import Hooks, Stopped
    from models.rollback import Diverged, events
    from models.trainer import train
    from models.watchdog import watched

    o, folder = cfg.optimizer, checkpoint_folder(cfg, out.state.parent)
    updates = optimizers(model, o.name, o.lr, o.matrix_lr, weight_decay=o.weight_decay)
    learner = Learner(model, objective, updates, schedule(o.schedule, steps, o.warmup, o.decay), o.clip, parallel)
    notices = Notices(out, steps, aloud=learner.parallel.rank == 0)
    try:
        with (
            out.progress("training steps", steps) as bar,
            watched(cfg.guard.stall_seconds, out.logs / "stall.txt", notices.stalled) as beat,
        ):

            def step_done(done: int) -> None:
                bar.advance(done - bar.done)  # back after a rollback
                beat()

            tell = lambda step, values: out.metrics(step, **values)  # noqa: E731
            hooks = Hooks(tell, notices.ranks, step_done, notices.rolled_back, validate, sample, stop)
            forward = model.get_decoder().register_forward_pre_hook(lambda *_: beat())  # validation is no stall
            try:
                curve = train(learner, micro_batches, _loop(cfg, steps, validate_every), folder, hooks)
            finally:
                forward.remove()
    except Diverged as problem:
        raise StageError(notices.diverged(problem)) from problem
    except Mismatch as problem:
        raise StageError(
            f"checkpoint: {problem}; expected one of this configuration; remove {folder} to start from the beginning"
        ) from problem
    except Stopped as stop:
        notices.stopped(stop.step)
        raise
    write_lines(out.path / "curve.jsonl", curve)
    write_lines(out.path / "events.jsonl", events(folder))
    return curve


def checkpoint_folder(cfg: TrainingConfig, place: Path) -> str:
    """Where a stage that works in `place` keeps its checkpoints; elsewhere than there, under its key as well."""
    return f"{cfg.checkpoints.rstrip('/')}/{place.name}" if cfg.checkpoints else str(place / "state" / "checkpoints")


def _loop(cfg: TrainingConfig, steps: int, validate_every: int) -> "Loop":
    from models.guard import Bounds
    from models.recorder import Loop

    g = cfg.guard
    return Loop(
        steps=steps,
        bf16=cfg.half,
        bounds=Bounds(
            g.spikes, g.window, min(16, g.window), g.deviations, g.loss_rise, g.norm_rise, g.rollbacks, g.skip
        ),
        log_every=cfg.log_every,
        validate_every=validate_every,
        checkpoint_every=cfg.checkpoint_every,
        threads=cfg.threads,
        deterministic=cfg.deterministic,
    )


def prepare(
    cfg: TrainingConfig,
    model: "nn.Module",
    parallel: "Alone | None" = None,
    check: Callable[["nn.Module"], None] = lambda _: None,
) -> "nn.Module":
    """The model as it is trained: its attention, its products' precision, activations kept or not, on its device.

    `parallel` shares it among processes. `check` sees it, on the CPU, before products are rounded to 8 bits: one scale
    for all tokens lets each depend on all others by a last bit.

    Raises:
        StageError: the attention or the precision that was asked for is not for this device or model.
    """
    from models.attention_choice import Unusable, use
    from models.device import accelerator
    from models.memory import keep_freed_memory
    from models.parallel import Alone

    keep_freed_memory()
    device = accelerator()
    try:
        use(model, cfg.attention, device, cfg.half)
    except Unusable as problem:
        raise StageError(f"attention: {problem}") from problem
    check(model)
    if cfg.precision == "fp8":
        _in_eight_bits(model, device)
    if cfg.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    (parallel or Alone()).prepare(model)
    return model


def _in_eight_bits(model: "nn.Module", device: "torch.device") -> None:
    from models.fp8 import missing, use_float8

    lacking = missing(device)
    if lacking:
        raise StageError(
            f"precision: fp8 needs a GPU of compute capability 8.9 or more (H100, L40S, ...); {lacking}; "
            "set precision: bf16"
        )
    count = use_float8(model)
    if not count:
        raise StageError(
            f"precision: fp8, but {type(model).__name__} has no linear module in its layers with sides that 16 "
            "divides; expected some; set precision: bf16, or take other sizes or another architecture"
        )
    log.info("precision: %d matrices multiply in 8 bits", count)


def compiled(cfg: TrainingConfig, model: "nn.Module", tokens: int, whole_rows: bool = True) -> bool:
    """Whether this run compiles its objective: its layers, each by itself, under data parallelism too.

    Not where ranks see stretches of rows: the collectives within a layer, and DTensors, are left to eager torch.

    Raises:
        StageError: it must, and there is no compiler.
    """
    from models.compiler import reach_torch
    from models.objectives import has_compiler, should_compile

    if not whole_rows:
        if cfg.compile != "never":
            log.warning("compile: layers are not compiled under tensor or context parallelism")
        return False
    if cfg.compile == "always" and not has_compiler():
        raise StageError(
            "compile: always, but none of g++, clang++ and c++ is on the PATH; expected a C++ compiler; install one "
            "(apt-get install g++), or set compile to auto or never"
        )
    if not should_compile(cfg.compile, model, tokens):
        return False
    reach_torch()
    return True


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a Hugging Face directory, without running code from it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def save_model(model: "nn.Module", tokenizer: Any, folder: Path) -> None:
    """A plain Hugging Face directory: config, safetensors, tokenizer, and how to draw tokens and when to stop."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.bos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.7,  # small models at 1.0 draw from a tail that they know little of
        top_p=0.95,
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
