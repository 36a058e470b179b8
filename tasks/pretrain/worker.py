"""What each process of a parallel pretraining does."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from models.parallel import Parallel
from tasks.cluster import EVENTS, GPU_BACKEND, STOP, Relay
from tasks.output import Output
from tasks.pretrain.run import pretrained
from tasks.pretrain.stage import PretrainConfig
from tasks.store import Workplace


def work(spec: dict[str, Any], folder: Path) -> None:
    """Take this process's place in the mesh and train; the first process writes into the stage's own output."""
    cfg = PretrainConfig.model_validate(spec["config"])
    gpus = torch.cuda.is_available()
    ours = not dist.is_initialized()  # Ray has done it already
    if ours:
        dist.init_process_group(GPU_BACKEND if gpus else "gloo")
    if gpus:
        torch.cuda.set_device(dist.get_node_local_rank(0))
    first = dist.get_rank() == 0
    root = Path(spec["root"])
    place = Workplace(root if first else folder / f"rank-{dist.get_rank()}" / root.name)
    for part in (place.files, place.logs, place.state, root / "state" / "checkpoints"):
        part.mkdir(parents=True, exist_ok=True)
    if not first:
        (place.state / "checkpoints").unlink(missing_ok=True)
        (place.state / "checkpoints").symlink_to(root / "state" / "checkpoints")
    out = Output(place, "pretrain", [Relay(folder / EVENTS)] if first else [])
    parallel = Parallel(cfg.parallel.mesh, cfg.half, "cuda" if gpus else "cpu")
    tokens, tokenizer = map(Path, spec["inputs"])
    pretrained(cfg, out, tokens, tokenizer, parallel, (folder / STOP).exists)
    dist.barrier()
    if ours:
        dist.destroy_process_group()
    if not first:
        with suppress(FileNotFoundError):
            shutil.rmtree(place.root.parent)
