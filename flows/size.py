"""`fullchain size`: a preset's pretraining on a cluster that need not be there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table

from flows.config import ChainConfig
from models.mesh import ImpossibleMesh, check
from models.simulator.hardware import Cluster, gpu, network
from models.simulator.job import Job
from models.simulator.search import NothingFits, Outcome, Task, assess, search
from models.simulator.shape import Shape
from tasks.errors import StageError


def size(cfg: ChainConfig, gpus: int, gpu_name: str, network_text: str, top: int) -> dict[str, Any]:
    """What the simulator says of the preset on so many GPUs: the recommended mesh, the next best, the configured one.

    Raises:
        StageError: an unknown GPU or network, a preset without sizes of its own, or nothing that fits.
    """
    try:
        cluster = Cluster(gpu(gpu_name), gpus, network(network_text))
        task = _task(cfg)
        best = search(task, cluster)[:top]
    except (NothingFits, ValueError) as error:
        raise StageError(f"size {cfg.name}: {error}") from error
    return {
        "preset": cfg.name,
        "cluster": {"gpus": gpus, "gpu": cluster.gpu.name, "network": network_text},
        "parameters": task.shape.parameters,
        "tokens_per_step": task.sequences * task.seq_len,
        "recommended": _facts(best[0]) | {"settings": _settings(best[0])},
        "alternatives": [_facts(outcome) for outcome in best[1:]],
        "configured": _configured(cfg, task, cluster),
    }


def size_table(found: dict[str, Any]) -> Group:
    """The same for people."""
    rows = [("recommended", found["recommended"])] + [("", facts) for facts in found["alternatives"]]
    if found["configured"]:
        rows.append(("configured", found["configured"]))
    table = Table(
        "", "replicate", "shard", "context", "tensor", "weights over", "micro-batch", "x", "recompute", "GB/rank",
        "GB sent", "exposed s", "hidden", "step s", "tok/s/GPU", "MFU", box=None, pad_edge=False,
    )  # fmt: skip
    for name, facts in rows:
        mesh, sent = facts["mesh"], sum(facts["gigabytes_sent"].values())
        table.add_row(
            name, *(str(mesh[k]) for k in ("replicate", "shard", "context", "tensor", "parameter_shard")),
            str(facts["micro_batch"]), str(facts["accumulation"]), "yes" if facts["checkpointing"] else "no",
            f"{facts['memory_gb']['total']:.1f}", f"{sent:.1f}", f"{facts['exposed_seconds']:.3f}",
            f"{facts['overlap']:.0%}", f"{facts['step_seconds']:.3f}", f"{facts['tokens_per_gpu_second']:.0f}",
            f"{facts['mfu']:.1%}" + ("" if facts["fits"] else " does not fit"),
        )  # fmt: skip
    cluster = found["cluster"]
    head = (
        f"{found['preset']}: {found['parameters'] / 1e9:.2f}B parameters, {found['tokens_per_step']:,} tokens per step,"
        f" {cluster['gpus']} x {cluster['gpu']}, {cluster['network']} per node"
    )
    return Group(head, table, "To take it: " + " ".join(f"--set {s}" for s in found["recommended"]["settings"]))


def _task(cfg: ChainConfig) -> Task:
    p = cfg.pretrain
    if p.init_from is not None:
        raise ValueError("pretrain.init_from: the sizes are its model's; expected a preset that trains from scratch")
    shape = Shape(
        p.hidden_size, p.layers, p.heads, p.kv_heads, p.intermediate_size, cfg.tokenizer.vocab_size, p.tie_embeddings
    )
    return Task(shape, cfg.tokens.seq_len, p.micro_batch * p.micro_batches(cfg.tokens.seq_len), p.optimizer.name)


def _configured(cfg: ChainConfig, task: Task, cluster: Cluster) -> dict[str, Any] | None:
    """The preset's own mesh, when it is made for as many processes; nothing when it is not."""
    mesh, p = cfg.pretrain.parallel.mesh, cfg.pretrain
    if mesh.ranks != cluster.gpus:
        return None
    try:
        check(mesh, task.sizes, cluster.gpus)
    except ImpossibleMesh as error:
        raise StageError(f"size {cfg.name}: pretrain.parallel: {error}") from error
    rows = task.sequences // mesh.data
    rows_at_once = min(p.micro_batch, rows)
    recompute = p.activation_checkpointing
    job = Job(task.shape, task.seq_len, rows_at_once, rows // rows_at_once, mesh, recompute, task.optimizer)
    return _facts(assess(job, cluster))


def _facts(outcome: Outcome) -> dict[str, Any]:
    job, step = outcome.job, outcome.step
    gigabytes = asdict(outcome.memory) | {"total": outcome.memory.total}
    return {
        "mesh": asdict(job.mesh),
        "micro_batch": job.micro_batch,
        "accumulation": job.accumulation,
        "checkpointing": job.checkpointing,
        "fits": outcome.fits,
        "memory_gb": {name: round(size / 1e9, 3) for name, size in gigabytes.items()},
        "gigabytes_sent": {name: round(size / 1e9, 4) for name, size in step.bytes_sent.items()},
        "step_seconds": round(step.seconds, 5),
        "compute_seconds": round(step.compute, 5),
        "communication_seconds": round(step.communication, 5),
        "exposed_seconds": round(step.exposed, 5),
        "straggler_seconds": round(step.stragglers, 5),
        "overlap": round(step.overlap, 4),
        "tokens_per_gpu_second": round(outcome.tokens_per_gpu, 1),
        "mfu": round(outcome.mfu, 4),
    }


def _settings(outcome: Outcome) -> list[str]:
    """Overrides that make the preset run so."""
    job, cluster = outcome.job, outcome.cluster
    values = {"nodes": -(-cluster.gpus // cluster.per_node), "processes": cluster.per_node, **asdict(job.mesh)}
    settings = [f"pretrain.parallel.{name}={value}" for name, value in values.items()]
    sequences = job.micro_batch * job.accumulation * job.mesh.data
    return [
        *settings,
        f"pretrain.micro_batch={job.micro_batch}",
        f"pretrain.accumulation={sequences // job.micro_batch}",
        "pretrain.batch_tokens=0",
        f"pretrain.activation_checkpointing={str(job.checkpointing).lower()}",
    ]
