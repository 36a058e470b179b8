"""Pretraining, from a token stream to a model directory."""

from pathlib import Path
from typing import Any

from torch import nn

from models.lm import Architecture, build
from models.objectives import LanguageModelling, validation
from tasks.output import Output
from tasks.pretrain.data import Stream
from tasks.pretrain.stage import PretrainConfig
from tasks.training import compiled, load_tokenizer, run_loop, save_model, write_lines, write_summary
from tasks.weights import pretrained_model


def run(cfg: PretrainConfig, out: Output, tokens: Path, tokenizer_path: Path) -> dict[str, Any]:
    """Train, validate and write `model/`, `curve.jsonl`, `summary.json`; the summary."""
    tokenizer = load_tokenizer(tokenizer_path)
    model = _initial(cfg, out, tokenizer)
    train, held_out = (Stream(tokens, split, tokenizer.bos_token_id) for split in ("train", "validation"))
    batches, size = held_out.validation(cfg.validation_tokens, cfg.micro_batch)
    measure = validation(batches, size, cfg.precision == "bf16")
    per_step = cfg.micro_batch * cfg.accumulation * train.seq_len
    steps = -(-cfg.tokens // per_step)
    if steps:
        objective = LanguageModelling(compiled(cfg, model, cfg.tokens))
        data = train.training(cfg.micro_batch, cfg.accumulation, cfg.seed)
        last = run_loop(cfg, out, model, objective, data, steps, measure, cfg.validate_every)[-1]
    else:
        last = _untrained(model, measure)
        write_lines(out.path / "curve.jsonl", [{"step": 0, **last}])
    save_model(model, tokenizer, out.path / "model")
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": steps,
        "tokens": steps * per_step,
        "bits_per_byte": last["bits_per_byte"],
        "validation_loss": last["validation_loss"],
    }
    write_summary(out.path / "summary.json", summary)
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
    )
    return build(architecture, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, cfg.seed)


def _untrained(model: nn.Module, measure: Any) -> dict[str, float]:
    from models.trainer import evaluating

    return evaluating(model, measure)
