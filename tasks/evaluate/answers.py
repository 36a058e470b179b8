"""Answers of the model to prompts, batch by batch; a batch answered once is never answered again."""

import hashlib
from typing import Any

from models.engine import Sampling
from models.language_model import LanguageModel
from tasks.chat import encode_prompt
from tasks.evaluate.prompts import Prompt
from tasks.evaluate.records import read_records, write_records
from tasks.evaluate.stage import EvaluateConfig
from tasks.stage import Output

Item = dict[str, Any]


def answer_prompts(model: LanguageModel, prompts: list[Prompt], cfg: EvaluateConfig, out: Output) -> list[Item]:
    """One item per prompt, in order. Batches have a fixed make-up, so an interrupted run ends with the same answers."""
    encoded = [(prompt, encode_prompt(model.tokenizer, prompt.messages, prompt.tools)) for prompt in prompts]
    fitting = []
    for prompt, ids in encoded:
        if len(ids) < model.session.length:
            fitting.append((prompt, ids))
        else:
            out.quarantine(prompt.id, "prompt too long", tokens=len(ids), room=model.session.length)
    items: list[Item] = []
    with out.progress("answers", len(fitting)) as bar:
        for number, start in enumerate(range(0, len(fitting), cfg.batch)):
            path = out.state / f"answers-{number:05d}.jsonl"
            batch = fitting[start : start + cfg.batch]
            if not path.exists():
                write_records(path, _answer(model, batch, cfg))
            items += read_records(path)
            bar.advance(len(batch))
    return items


def _answer(model: LanguageModel, batch: list[tuple[Prompt, list[int]]], cfg: EvaluateConfig) -> list[Item]:
    sampling = [
        Sampling(cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens, seed=seed_of(cfg.seed, prompt.id))
        for prompt, _ in batch
    ]
    answers = model.answer([ids for _, ids in batch], sampling)
    return [
        {
            "id": prompt.id,
            "check": prompt.check,
            "prompt": prompt.messages[-1]["content"],
            "answer": answer.text,
            "tokens": len(answer.tokens),
            "ended": answer.reason,
        }
        for (prompt, _), answer in zip(batch, answers, strict=True)
    ]


def seed_of(seed: int, name: str) -> int:
    """A seed per prompt, so that adding prompts changes no other prompt's answer."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")
