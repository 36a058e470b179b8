"""Pretraining, from a token stream to a model directory."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from models.lm import Architecture, build
from models.mesh import ImpossibleMesh, Sizes, check
from models.objectives import language_modelling, validation
from models.parallel import Alone
from tasks.cluster import launch
from tasks.errors import StageError
from tasks.output import Output
from tasks.pretrain.data import Stream
from tasks.pretrain.stage import PretrainConfig
from tasks.training import compiled, load_tokenizer, run_loop, save_model, write_lines, write_summary
from tasks.weights import pretrained_model

SUMMARY = "summary.json"


def run(cfg: PretrainConfig, out: Output, tokens: Path, tokenizer: Path) -> dict[str, Any]:
    """Train, validate and write `model/`, `curve.jsonl`, `summary.json`; the summary.

    In this process, or in as many as `cfg.parallel` says, of which the first writes.
    """
    if cfg.parallel.world == 1:
        return pretrained(cfg, out, tokens, tokenizer, Alone())
    _possible(cfg, tokens)
    spec = {
        "config": cfg.model_dump(mode="json"),
        "root": str(out.path.parent),
        "inputs": [str(tokens), str(tokenizer)],
    }
    launch(cfg.parallel, "tasks.pretrain.worker", spec, out)
    return json.loads((out.path / SUMMARY).read_text(encoding="utf-8"))


def pretrained(cfg: PretrainConfig, out: Output, tokens: Path, tokenizer_path: Path, parallel: Alone) -> dict[str, Any]:
    """What every process does; `out` of all but the first is thrown away."""
    tokenizer = load_tokenizer(tokenizer_path)
    model = _initial(cfg, out, tokenizer)
    train, held_out = (Stream(tokens, split, tokenizer.bos_token_id) for split in ("train", "validation"))
    batches, size = held_out.validation(cfg.validation_tokens, cfg.micro_batch)
    measure = validation(batches, size, cfg.precision == "bf16", parallel)
    per_step = cfg.micro_batch * cfg.accumulation * train.seq_len
    steps = -(-cfg.tokens // per_step)
    parallel.prepare(model)
    if steps:
        objective = language_modelling(parallel.ranks == 1 and compiled(cfg, model, cfg.tokens))
        data = train.training(cfg.micro_batch, cfg.accumulation, cfg.seed)
        last = run_loop(cfg, out, model, objective, data, steps, measure, cfg.validate_every, parallel)[-1]
    else:
        last = _untrained(model, measure)
        write_lines(out.path / "curve.jsonl", [{"step": 0, **last}])
    save_model(parallel.whole(model), tokenizer, out.path / "model")
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": steps,
        "tokens": steps * per_step,
        "bits_per_byte": last["bits_per_byte"],
        "validation_loss": last["validation_loss"],
    }
    write_summary(out.path / SUMMARY, summary)
    return summary


def _initial(cfg: PretrainConfig, out: Output, tokenizer: Any) -> nn.Module:
    if cfg.init_from is not None:
        return pretrained_model(cfg.init_from, out.state, len(tokenizer))
    architecture = Architecture(
        vocab_size=len(tokenizer),
        hidden_size=cfg.hidden_size,
        layers=cfg.layers,
        heads=cfg.heads,
        kv_heads=cfg.kv_heads,
        intermediate_size=cfg.intermediate_size,
        context=cfg.context,
        tie_embeddings=cfg.tie_embeddings,
    )
    return build(architecture, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, cfg.seed)


def _possible(cfg: PretrainConfig, tokens: Path) -> None:
    """Refuse a mesh that does not fit, before any process starts.

    Raises:
        StageError: with the product that must hold.
    """
    sizes = Sizes(
        cfg.heads, cfg.kv_heads, cfg.hidden_size, cfg.intermediate_size,
        Stream(tokens, "train", 0).seq_len, cfg.micro_batch * cfg.accumulation,
    )  # fmt: skip
    try:
        check(cfg.parallel.mesh, sizes, cfg.parallel.world)
    except ImpossibleMesh as error:
        raise StageError(f"pretrain.parallel: {error}; `fullchain size` recommends a mesh") from error


def _untrained(model: nn.Module, measure: Any) -> dict[str, float]:
    from models.trainer import evaluating

    return evaluating(model, measure)
