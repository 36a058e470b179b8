"""The stage and its configuration."""

import json
from typing import Literal

from pydantic import Field

from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, StageError, stage

Suite = Literal["bits_per_byte", "verse", "answers", "toolcalls"]


class EvaluateConfig(StageConfig):
    """What is measured, on how much, and how answers are sampled. The same for every model that is to be compared."""

    suites: tuple[Suite, ...] = Field(("bits_per_byte", "verse"), min_length=1, description="Groups of measures")
    tokens: int = Field(49_152, ge=64, description="Validation tokens for bits per byte")
    window: int = Field(256, ge=8, description="Tokens the model reads at once")
    context: int = Field(64, ge=1, description="Tokens repeated from the window before, where a document is longer")
    prompts: int = Field(192, ge=1, description="Held-out prompts to answer, taken evenly from all of them")
    batch: int = Field(
        48, ge=1, le=256, description="Prompts answered together; an interrupted evaluation loses one batch"
    )
    length: int = Field(512, ge=16, description="Tokens of prompt and answer together")
    max_tokens: int = Field(128, ge=1, description="Tokens of an answer")
    temperature: float = Field(
        0.7, ge=0, le=2, description="0 takes the likeliest token; else a draw with a fixed seed"
    )
    top_p: float = Field(0.95, gt=0, le=1, description="Share of probability that may be drawn from")
    seed: int = Field(0, ge=0, description="Together with a prompt's id, the seed of its answer")
    samples: int = Field(24, ge=0, description="Answers shown in samples.jsonl")
    threads: Runtime[int] = Field(0, ge=0, description="Threads of an int4 model; 0 = one per core")

    @property
    def asks(self) -> bool:
        """Whether any suite puts the held-out prompts to the model."""
        return bool({"verse", "toolcalls", "answers"} & set(self.suites))


@stage(libraries=("torch", "transformers", "tokenizers", "onnxruntime", "pypinyin"))
def evaluate(
    cfg: EvaluateConfig, out: Output, *, model: Artifact, corpus: Artifact, tokens: Artifact, finetune: Artifact
) -> Metrics:
    """Measure a model, full-precision or int4, on validation text and held-out prompts; every item's result is kept."""
    from models.language_model import LanguageModel
    from tasks.evaluate.answers import answer_prompts
    from tasks.evaluate.bits_per_byte import bits_per_byte, trigram_bits_per_byte
    from tasks.evaluate.likelihood import answer_likelihood
    from tasks.evaluate.prompts import read_prompts
    from tasks.evaluate.records import samples, write_records
    from tasks.evaluate.toolcalls import tool_call_scores
    from tasks.evaluate.verse import verse_scores
    from tasks.validation import validation_text

    length = max(cfg.length, cfg.window)
    try:
        subject = LanguageModel.load(model.path / "model", cfg.batch, length, cfg.threads)
    except FileNotFoundError as error:
        raise StageError(f"model: {error}") from error
    scores: dict[str, float] = {}
    if "bits_per_byte" in cfg.suites:
        text = validation_text(tokens.path, cfg.tokens, cfg.window, cfg.context)
        scores |= bits_per_byte(subject, text, out)
        scores |= trigram_bits_per_byte(tokens.path, text)
    items = []
    if cfg.asks:
        prompts = read_prompts(finetune.path / "heldout.jsonl", cfg.prompts)
        items = answer_prompts(subject, prompts, cfg, out)
    if "verse" in cfg.suites:
        scores |= verse_scores(items, corpus.path)
    if "toolcalls" in cfg.suites:
        scores |= tool_call_scores(items)
    if "answers" in cfg.suites:
        scores |= answer_likelihood(subject, prompts, items, cfg.length)
    rounded = {name: round(value, 6) for name, value in scores.items()}
    (out.path / "scores.json").write_text(json.dumps(rounded, indent=2))
    write_records(out.path / "items.jsonl", items)
    write_records(out.path / "samples.jsonl", samples(items, cfg.samples))
    return rounded
