"""Pretraining, from a token stream to a model directory."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.lm import Architecture, build
from models.mesh import ImpossibleMesh, Sizes, check
from models.objectives import LanguageModelling, validation
from models.parallel import Alone
from models.recorder import evaluating
from models.sampling import continuations
from tasks.cluster import launch
from tasks.errors import StageError
from tasks.output import Output
from tasks.pretrain.checks import check_model, check_split, check_tokens
from tasks.pretrain.data import Stream
from tasks.pretrain.stage import PretrainConfig
from tasks.training import compiled, load_tokenizer, prepare, run_loop, save_model, write_lines, write_summary
from tasks.weights import pretrained_model

SUMMARY = "summary.json"
SAMPLE_TOKENS = 48


def run(cfg: PretrainConfig, out: Output, tokens: Path, tokenizer: Path) -> dict[str, Any]:
    """Train, validate and write `model/`, `curve.jsonl`, `summary.json`; the summary.

    In this process, or in as many as `cfg.parallel` says, of which the first writes.

    Raises:
        StageError: tokens, mesh and settings do not fit each other.
    """
    check_tokens(tokens, load_tokenizer(tokenizer), tokenizer)
    if cfg.parallel.world == 1:
        return pretrained(cfg, out, tokens, tokenizer, Alone())
    check_split(cfg)
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
    model = prepare(cfg, _initial(cfg, out, tokenizer))
    train, held_out = (Stream(tokens, split, tokenizer.bos_token_id) for split in ("train", "validation"))
    check_model(model, tokenizer, train.seq_len)
    batches, size = held_out.validation(cfg.validation_tokens, cfg.micro_batch)
    measure = validation(batches, size, cfg.half, parallel)
    data = train.training(cfg.micro_batch, cfg.micro_batches(train.seq_len), cfg.seed, cfg.tokens, cfg.ramp)
    parallel.prepare(model)
    if data.steps:
        objective = LanguageModelling(compiled(cfg, model, cfg.tokens, parallel.whole_rows), cfg.z_loss)
        sample = Samples(out.logs / "samples.jsonl", tokenizer, cfg.samples, cfg.seed, parallel)
        last = run_loop(cfg, out, model, objective, data, data.steps, measure, cfg.validate_every, sample, parallel)[-1]
    else:
        last = evaluating(model, measure)
        write_lines(out.path / "curve.jsonl", [{"step": 0, **last}])
    save_model(parallel.whole(model), tokenizer, out.path / "model")
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": data.steps,
        "tokens": data.tokens,
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
        kind=cfg.architecture,
    )
    try:
        return build(architecture, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, cfg.seed)
    except (ValueError, KeyError) as problem:
        raise StageError(
            f"pretrain.architecture: {cfg.architecture!r} cannot be built: {problem}; expected a model type of "
            "transformers that AutoModelForCausalLM knows, such as internlm3, llama or qwen3"
        ) from problem


def _possible(cfg: PretrainConfig, tokens: Path) -> None:
    """Refuse a mesh that does not fit, before any process starts.

    Raises:
        StageError: with the product that must hold.
    """
    seq_len = Stream(tokens, "train", 0).seq_len
    sequences = cfg.micro_batch * cfg.micro_batches(seq_len)
    sizes = Sizes(cfg.heads, cfg.kv_heads, cfg.hidden_size, cfg.intermediate_size, seq_len, sequences)
    try:
        check(cfg.parallel.mesh, sizes, cfg.parallel.world)
    except ImpossibleMesh as error:
        raise StageError(f"pretrain.parallel: {error}; `fullchain size` recommends a mesh") from error


class Samples:
    """Appends a few texts of the model to a file, told by step; none where ranks see stretches of rows only."""

    def __init__(self, path: Path, tokenizer: Any, count: int, seed: int, parallel: Alone) -> None:
        self.path, self.tokenizer, self.seed, self.parallel = path, tokenizer, seed, parallel
        self.count = count if parallel.whole_rows else 0

    def __call__(self, step: int, model: nn.Module) -> None:
        """Texts that the model begins itself, from the separator of documents on."""
        if not self.count:
            return
        start = torch.full((self.count, 1), self.tokenizer.bos_token_id, device=model.device)
        ids = self.parallel.call(continuations, model, start, SAMPLE_TOKENS, self.seed)
        texts = [self.tokenizer.decode(row[1:]) for row in ids]
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "texts": texts}, ensure_ascii=False) + "\n")
