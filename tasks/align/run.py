"""Alignment, from pairs of answers to a model that prefers the better ones."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from models.lm import load
from models.packing import Example
from models.preference import PairBatch, Preference, pair_batch, with_reference
from tasks.align.pairs import Pair, poem_pairs, poem_requests, records, source_pair
from tasks.align.stage import AlignConfig
from tasks.chat import encode_chat, encode_prompt
from tasks.conversations import read_source
from tasks.errors import StageError
from tasks.output import Output
from tasks.training import load_tokenizer, prepare, run_loop, save_model, write_lines, write_summary


def run(cfg: AlignConfig, out: Output, tuned: Path, corpus: Path) -> dict[str, Any]:
    """Make pairs, train on them, write `model/`, `preferences.jsonl`, `curve.jsonl`, `summary.json`; the summary."""
    base = tuned / "model"
    tokenizer = load_tokenizer(base)
    pairs = _pairs(cfg, out, base, corpus)
    encoded = _encoded(cfg, out, tokenizer, pairs)
    if not encoded:
        raise StageError(
            "align: no pair to learn from; raise poem_requests, or name sources of chosen and rejected answers; "
            "what was put aside, and why, is in quarantine.jsonl"
        )
    write_lines(out.path / "preferences.jsonl", records(pairs))
    model = prepare(cfg, load(base))
    data = Batches(cfg, out, model, encoded, tokenizer.pad_token_id)
    objective = Preference(cfg.beta, cfg.imitation, cfg.per_token)
    last = run_loop(cfg, out, model, objective, data, data.steps)[-1]
    save_model(model, tokenizer, out.path / "model")
    summary = {
        "pairs": len(encoded),
        **{f"pairs_{origin.replace(' ', '_')}": n for origin, n in sorted(Counter(p.origin for p in pairs).items())},
        "steps": data.steps,
        **{name: last[name] for name in ("loss", "accuracy", "margin", "chosen_gain")},
    }
    write_summary(out.path / "summary.json", summary)
    return summary


class Batches:
    """Step -> micro-batches of pairs of like length, with the reference's log-probabilities; shuffled in each epoch."""

    def __init__(
        self, cfg: AlignConfig, out: Output, model: Any, pairs: list[tuple[Example, Example]], pad: int
    ) -> None:
        ordered = sorted(pairs, key=lambda pair: max(len(example.ids) for example in pair))
        chunks = [ordered[i : i + cfg.micro_batch] for i in range(0, len(ordered), cfg.micro_batch)]
        batches = [pair_batch([c for c, _ in chunk], [r for _, r in chunk], pad) for chunk in chunks]
        self.batches = self._referenced(cfg, out, model, batches)
        self.seed = cfg.seed
        self.per_step = max(1, min(len(batches), cfg.pairs_per_step // cfg.micro_batch))
        self.steps = -(-len(batches) * cfg.epochs // self.per_step)

    def __call__(self, step: int) -> list[PairBatch]:
        """The micro-batches of one optimizer step, counted from 0."""
        return [self._batch(number) for number in range(step * self.per_step, (step + 1) * self.per_step)]

    def _batch(self, number: int) -> PairBatch:
        epoch, place = divmod(number, len(self.batches))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.batches))
        return self.batches[order[place]]

    @staticmethod
    def _referenced(cfg: AlignConfig, out: Output, model: Any, batches: list[PairBatch]) -> list[PairBatch]:
        """With the log-probabilities of the model as it is before training, kept for the case of a resume."""
        kept = out.state / "reference.safetensors"
        if kept.exists():
            saved = load_file(kept)
            return [batch._replace(reference=saved[str(n)]) for n, batch in enumerate(batches)]
        with out.progress("reference", len(batches)) as bar:
            done = []
            for batch in batches:
                done.append(with_reference(model, batch, cfg.half))
                bar.advance()
        draft = kept.with_suffix(".draft")
        save_file({str(n): batch.reference for n, batch in enumerate(done)}, draft)
        draft.replace(kept)
        return done


def _pairs(cfg: AlignConfig, out: Output, model: Path, corpus: Path) -> list[Pair]:
    made = list(poem_pairs(cfg, out, model, poem_requests(cfg, corpus))) if cfg.poem_requests else []
    return made + [pair for ref in cfg.sources for pair in read_source(ref, cfg.source_limit, source_pair, out)]


def _encoded(cfg: AlignConfig, out: Output, tokenizer: Any, pairs: list[Pair]) -> list[tuple[Example, Example]]:
    kept = []
    for pair in pairs:
        both = tuple(_answered(tokenizer, pair, answer) for answer in (pair.chosen, pair.rejected))
        longest = max(len(example.ids) for example in both)
        if longest > cfg.seq_len:
            out.quarantine(pair.id, "longer than align.seq_len", tokens=longest)
        else:
            kept.append(both)
    return kept


def _answered(tokenizer: Any, pair: Pair, answer: str) -> Example:
    """The conversation with this answer; only the answer counts, not what the assistant said before."""
    messages = [*pair.messages, {"role": "assistant", "content": answer}]
    ids, learned = encode_chat(tokenizer, messages, pair.tools)
    prompt = len(encode_prompt(tokenizer, pair.messages, pair.tools))
    return Example(ids, [said and place >= prompt for place, said in enumerate(learned)])
