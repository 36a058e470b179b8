"""A model's own answers to many prompts: in batches of a fixed make-up, kept in the state, shared by processes."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from models.engine import Sampling
from models.language_model import LanguageModel
from tasks.align.stage import AlignConfig
from tasks.chat import encode_prompt
from tasks.output import Output
from tasks.poet_dialogues import user
from tasks.processes import cores, in_workers

# Bytes of weights: of such a model each process may hold one, and its products gain nothing by threads.
SMALL = 64 << 20
PRELOADED = ["__main__", "models.torch_session"]  # imported once, before workers are forked


class Batch(NamedTuple):
    """Prompts that are answered together, where their answers are kept, and the number of the first."""

    kept: Path
    first: int
    prompts: list[str]


def answers(cfg: AlignConfig, out: Output, model: Path, prompts: list[str]) -> list[str]:
    """One text for each prompt in turn; an interrupted run loses the batches under way.

    Processes share the batches of a small model, whose forwards are work for one thread each.
    """
    batches = [
        Batch(out.state / f"answers-{first:06d}.json", first, prompts[first : first + cfg.sample.batch])
        for first in range(0, len(prompts), cfg.sample.batch)
    ]
    missing = [batch for batch in batches if not batch.kept.exists()]
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    workers = min(len(missing), (cfg.threads or cores()) if weights <= SMALL else 1)
    with out.progress("sampling answers", len(prompts)) as bar:
        bar.advance(len(prompts) - sum(len(batch.prompts) for batch in missing))
        for count in _each(cfg, model, missing, workers) if missing else ():
            bar.advance(count)
    return [text for batch in batches for text in json.loads(batch.kept.read_text(encoding="utf-8"))]


def _each(cfg: AlignConfig, model: Path, batches: list[Batch], workers: int) -> Iterator[int]:
    """How many answers each batch has, as they are done."""
    if workers <= 1:
        subject = LanguageModel.load(model, cfg.sample.batch, cfg.seq_len)
        yield from (_answer(cfg, subject, batch) for batch in batches)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # of no effect on a server that runs already
    yield from in_workers(partial(_answer_in_worker, cfg, model), batches, workers, context)


def _answer_in_worker(cfg: AlignConfig, model: Path, batch: Batch) -> int:
    return _answer(cfg, _loaded(model, cfg.sample.batch, cfg.seq_len), batch)


@cache
def _loaded(model: Path, slots: int, length: int) -> LanguageModel:
    """Once in each worker, of which there is one for each core."""
    torch.set_num_threads(1)
    return LanguageModel.load(model, slots, length)


def _answer(cfg: AlignConfig, subject: LanguageModel, batch: Batch) -> int:
    """Answer a batch and keep the texts; how many."""
    how = cfg.sample
    encoded = [encode_prompt(subject.tokenizer, [user(prompt)]) for prompt in batch.prompts]
    sampling = [
        Sampling(how.temperature, top_p=how.top_p, max_tokens=how.max_tokens, seed=cfg.seed * 1_000_003 + number)
        for number in range(batch.first, batch.first + len(encoded))
    ]
    _keep(batch.kept, [answer.text.strip() for answer in subject.answer(encoded, sampling)])
    return len(encoded)


def _keep(path: Path, texts: list[str]) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    draft.replace(path)
