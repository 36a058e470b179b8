"""Pretraining, from a token stream to a model directory."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.lm import Architecture, build
from models.objectives import LanguageModelling, validation
from models.sampling import continuations
from models.trainer import evaluating
from tasks.errors import StageError
from tasks.output import Output
from tasks.pretrain.checks import check_model, check_tokens
from tasks.pretrain.data import Stream
from tasks.pretrain.stage import PretrainConfig
from tasks.training import compiled, load_tokenizer, prepare, run_loop, save_model, write_lines, write_summary
from tasks.weights import pretrained_model

SAMPLE_TOKENS = 48


def run(cfg: PretrainConfig, out: Output, tokens: Path, tokenizer_path: Path) -> dict[str, Any]:
    """Train, validate and write `model/`, `curve.jsonl`, `summary.json`; the summary."""
    tokenizer = load_tokenizer(tokenizer_path)
    check_tokens(tokens, tokenizer, tokenizer_path)
    model = prepare(cfg, _initial(cfg, out, tokenizer))
    train, held_out = (Stream(tokens, split, tokenizer.bos_token_id) for split in ("train", "validation"))
    check_model(model, tokenizer, train.seq_len)
    batches, size = held_out.validation(cfg.validation_tokens, cfg.micro_batch)
    measure = validation(batches, size, cfg.precision == "bf16")
    data = train.training(cfg.micro_batch, _accumulation(cfg, train.seq_len), cfg.seed, cfg.tokens, cfg.ramp)
    if data.steps:
        objective = LanguageModelling(compiled(cfg, model, cfg.tokens), cfg.z_loss)
        sample = Samples(out.logs / "samples.jsonl", tokenizer, cfg.samples, cfg.seed)
        last = run_loop(cfg, out, model, objective, data, data.steps, measure, cfg.validate_every, sample)[-1]
    else:
        last = evaluating(model, measure)
        write_lines(out.path / "curve.jsonl", [{"step": 0, **last}])
    save_model(model, tokenizer, out.path / "model")
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": data.steps,
        "tokens": data.tokens,
        "bits_per_byte": last["bits_per_byte"],
        "validation_loss": last["validation_loss"],
    }
    write_summary(out.path / "summary.json", summary)
    return summary


def _accumulation(cfg: PretrainConfig, seq_len: int) -> int:
    return max(1, round(cfg.batch_tokens / (cfg.micro_batch * seq_len))) if cfg.batch_tokens else cfg.accumulation


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


class Samples:
    """Appends a few texts of the model to a file, told by step."""

    def __init__(self, path: Path, tokenizer: Any, count: int, seed: int) -> None:
        self.path, self.tokenizer, self.count, self.seed = path, tokenizer, count, seed

    def __call__(self, step: int, model: nn.Module) -> None:
        """Texts that the model begins itself, from the separator of documents on."""
        if not self.count:
            return
        start = torch.full((self.count, 1), self.tokenizer.bos_token_id, device=model.device)
        ids = continuations(model, start, SAMPLE_TOKENS, self.seed)
        texts = [self.tokenizer.decode(row[1:]) for row in ids]
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "texts": texts}, ensure_ascii=False) + "\n")
