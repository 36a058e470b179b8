"""Pretraining, from a token stream to a model directory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.mesh import Mesh
from models.objectives import LanguageModelling, validation
from models.parallel import Alone
from models.recorder import evaluating
from models.sampling import continuations
from tasks.cluster import launch
from tasks.output import Output
from tasks.pretrain.checks import check_mesh, check_model, check_network, check_split, check_tokens
from tasks.pretrain.data import Stream
from tasks.pretrain.network import outlined, shared
from tasks.pretrain.stage import PretrainConfig
from tasks.training import compiled, load_tokenizer, prepare, run_loop, save_model, write_lines, write_summary

SUMMARY = "summary.json"
SAMPLE_TOKENS = 48


def run(cfg: PretrainConfig, out: Output, tokens: Path, tokenizer: Path) -> dict[str, Any]:
    """Train, validate and write `model/`, `curve.jsonl`, `summary.json`; the summary.

    In this process, or in as many as `cfg.parallel` says, of which the first writes.

    Raises:
        StageError: tokens, mesh and settings do not fit each other.
    """
    words = load_tokenizer(tokenizer)
    check_tokens(tokens, words, tokenizer)
    if cfg.parallel.world == 1 and cfg.parallel.mesh == Mesh():
        return pretrained(cfg, out, tokens, tokenizer, Alone())
    check_split(cfg)
    check_mesh(cfg, outlined(cfg, out, words), tokens)
    spec = {
        "config": cfg.model_dump(mode="json"),
        "root": str(out.path.parent),
        "inputs": [str(tokens), str(tokenizer)],
    }
    launch(cfg.parallel, "tasks.pretrain.worker", spec, out)
    return json.loads((out.path / SUMMARY).read_text(encoding="utf-8"))


def pretrained(
    cfg: PretrainConfig,
    out: Output,
    tokens: Path,
    tokenizer_path: Path,
    parallel: Alone,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """What every process does; `out` of all but the first is thrown away. `stop`: see `run_loop`."""
    tokenizer = load_tokenizer(tokenizer_path)
    model = shared(cfg, out, tokenizer, parallel)
    train, held_out = (Stream(tokens, split, tokenizer.bos_token_id) for split in ("train", "validation"))
    check_model(model, tokenizer, train.seq_len)
    prepare(cfg, model, parallel, lambda model: parallel.by_the_first(check_network, model, cfg))
    batches, size = held_out.validation(cfg.validation_tokens, cfg.micro_batch)
    measure = validation(batches, size, cfg.half, parallel)
    data = train.training(cfg.micro_batch, cfg.micro_batches(train.seq_len), cfg.seed, cfg.tokens, cfg.ramp)
    if data.steps:
        objective = LanguageModelling(compiled(cfg, model, cfg.tokens, parallel.whole_rows), cfg.z_loss)
        sample = Samples(out.logs / "samples.jsonl", tokenizer, cfg, parallel)
        curve = run_loop(
            cfg, out, model, objective, data, data.steps, measure, cfg.validate_every, sample, parallel, stop
        )
        last = curve[-1]
    else:
        last = evaluating(model, measure)
        write_lines(out.path / "curve.jsonl", [{"step": 0, **last}])
    whole = parallel.whole(model)
    if whole is not None:
        save_model(whole, tokenizer, out.path / "model")
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": data.steps,
        "tokens": data.tokens,
        "bits_per_byte": last["bits_per_byte"],
        "validation_loss": last["validation_loss"],
    }
    write_summary(out.path / SUMMARY, summary)
    return summary


class Samples:
    """Appends a few texts of the model to a file, told by step; none where ranks see stretches of rows only."""

    def __init__(self, path: Path, tokenizer: Any, cfg: PretrainConfig, parallel: Alone) -> None:
        self.path, self.tokenizer, self.seed, self.parallel = path, tokenizer, cfg.seed, parallel
        self.count = cfg.samples if parallel.whole_rows else 0
        self.half = cfg.half

    def __call__(self, step: int, model: nn.Module) -> None:
        """Texts that the model begins itself, from the separator of documents on."""
        if not self.count:
            return
        start = torch.full((self.count, 1), self.tokenizer.bos_token_id, device=model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.half):  # as in training
            ids = self.parallel.call(continuations, model, start, SAMPLE_TOKENS, self.seed)
        texts = [self.tokenizer.decode(row[1:]) for row in ids]
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "texts": texts}, ensure_ascii=False) + "\n")
