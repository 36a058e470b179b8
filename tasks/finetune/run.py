"""Fine-tuning, from a model directory to a better one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models.lm import Batch, load
from models.objectives import LanguageModelling
from models.packing import Example, pack, packed_batch
from tasks.chat import encode_chat, without_specials
from tasks.conversations import Conversation, conversation, read_source
from tasks.errors import StageError
from tasks.finetune.examples import (
    held_out_requests,
    poem_conversations,
    put_aside,
    replayed_texts,
)
from tasks.finetune.stage import FinetuneConfig
from tasks.output import Output
from tasks.training import compiled, load_tokenizer, prepare, run_loop, save_model, write_lines, write_summary


def run(cfg: FinetuneConfig, out: Output, base: Path, corpus: Path) -> dict[str, Any]:
    """Fine-tune; writes `model/`, with LoRA also `adapter/`, and `heldout.jsonl`, `curve.jsonl`, `summary.json`."""
    tokenizer = load_tokenizer(base)
    conversations, items = _conversations(cfg, out, corpus)
    write_lines(out.path / "heldout.jsonl", items)
    examples = list(_encoded(cfg, out, tokenizer, conversations))
    if not examples:
        raise StageError(
            "finetune: no conversation to learn from; raise poem_requests or dialogues, or name sources; "
            "what was put aside, and why, is in quarantine.jsonl"
        )
    replayed = _replayed(cfg, tokenizer, corpus)
    data = Packed([*examples, *replayed], cfg, tokenizer.pad_token_id)
    model = load(base)
    merge: Callable[[], nn.Module] = lambda: model  # noqa: E731
    if cfg.lora is not None:
        from tasks.finetune.lora import adapt

        merge = adapt(model, cfg.lora, cfg.seed, out.path / "adapter")
    prepare(cfg, model)
    tokens = data.steps * cfg.micro_batch * cfg.accumulation * cfg.seq_len
    objective = LanguageModelling(compiled(cfg, model, tokens))
    last = run_loop(cfg, out, model, objective, data, data.steps)[-1]
    save_model(merge(), tokenizer, out.path / "model")
    summary = {
        "examples": len(examples),
        "replayed_documents": len(replayed),
        "tokens": sum(len(example.ids) for example in (*examples, *replayed)),
        "answer_tokens": sum(sum(example.learned) for example in examples),
        "rows": len(data.rows),
        "steps": data.steps,
        "loss": last["loss"],
        "held_out": len(items),
    }
    write_summary(out.path / "summary.json", summary)
    return summary


class Packed:
    """Step -> micro-batches of packed rows, shuffled anew in each epoch."""

    def __init__(self, examples: list[Example], cfg: FinetuneConfig, pad: int) -> None:
        order = np.random.default_rng([cfg.seed, len(examples)]).permutation(len(examples))
        self.examples, self.cfg, self.pad = [examples[i] for i in order], cfg, pad
        self.rows = pack([len(example.ids) for example in self.examples], cfg.seq_len)
        size = cfg.micro_batch * cfg.accumulation
        self.steps = -(-len(self.rows) * cfg.epochs // size)

    def __call__(self, step: int) -> list[Batch]:
        """The micro-batches of one optimizer step, counted from 0."""
        micro = self.cfg.micro_batch
        size = micro * self.cfg.accumulation
        rows = [self._row(number) for number in range(step * size, (step + 1) * size)]
        return [packed_batch(rows[i : i + micro], self.cfg.seq_len, self.pad) for i in range(0, size, micro)]

    def _row(self, number: int) -> list[Example]:
        epoch, place = divmod(number, len(self.rows))
        order = np.random.default_rng([self.cfg.seed, epoch]).permutation(len(self.rows))
        return [self.examples[item] for item in self.rows[order[place]]]


def _conversations(cfg: FinetuneConfig, out: Output, corpus: Path) -> tuple[list[Conversation], list[dict[str, Any]]]:
    """What to learn from, and what is held out for evaluation, each from the poems and from every source."""
    learned: list[Conversation] = []
    items: list[dict[str, Any]] = []
    if cfg.poem_requests or cfg.dialogues:
        poems, items = held_out_requests(corpus, cfg.held_out, cfg.seed)
        learned += poem_conversations(cfg, corpus, poems)
    for reference in cfg.sources:
        read = list(read_source(reference, cfg.source_limit, conversation, out))
        left, aside = put_aside(read, -(-cfg.held_out // len(cfg.sources)))
        learned, items = learned + left, items + aside
    return learned, items


def _replayed(cfg: FinetuneConfig, tokenizer: Any, corpus: Path) -> list[Example]:
    """Documents between two separators, as in pretraining; what is too long for a row is cut."""
    texts = replayed_texts(corpus, cfg.replay) if cfg.replay else []
    encoded = [tokenizer.encode(without_specials(text), add_special_tokens=False) for text in texts]
    rows = [[tokenizer.bos_token_id, *ids, tokenizer.bos_token_id][: cfg.seq_len] for ids in encoded]
    return [Example(ids, [True] * len(ids)) for ids in rows]


def _encoded(cfg: FinetuneConfig, out: Output, tokenizer: Any, conversations: list[Conversation]) -> Iterator[Example]:
    for item in conversations:
        ids, learned = encode_chat(tokenizer, item.messages, item.tools)
        if len(ids) > cfg.seq_len:
            out.quarantine(item.id, "longer than finetune.seq_len", tokens=len(ids))
        elif not any(learned):
            out.quarantine(item.id, "nothing the assistant says")
        else:
            yield Example(ids, learned)
