"""The stage and its configuration."""

import json

from pydantic import Field

from tasks.sources import SourceRef
from tasks.stage import Artifact, Metrics, Output, StageConfig, StageError, stage


class TokenizerConfig(StageConfig):
    """How the vocabulary is made."""

    vocab_size: int = Field(6144, ge=300, le=262_144, description="Entries, special tokens included")
    sample_characters: int = Field(
        10_000_000, ge=1000, description="Characters of the training split to learn merges from, spread over all of it"
    )
    chat_weight: int = Field(
        2000, ge=0, description="How often the chat and tool syntax is added to what merges are learned from"
    )
    checked_documents: int = Field(2000, ge=1, description="Documents that must come back unchanged from their tokens")
    init_from: SourceRef | None = Field(
        None, description="A model source whose tokenizer is taken over instead (vocab_size is then its own)"
    )


@stage(libraries=("tokenizers", "transformers"))
def tokenizer(cfg: TokenizerConfig, out: Output, *, corpus: Artifact) -> Metrics:
    """Train a byte-level BPE tokenizer on the corpus's training split (Sennrich et al. 2016; Radford et al. 2019)."""
    from tasks.tokenizer.bpe import hugging_face, train_bpe
    from tasks.tokenizer.check import round_trip
    from tasks.tokenizer.sample import chat_syntax, sample
    from tasks.weights import pretrained_tokenizer

    if cfg.init_from is None:
        with out.progress("sampling") as bar:
            texts = sample(corpus.path, cfg.sample_characters, bar.advance)
        made = hugging_face(train_bpe([*texts, *chat_syntax(cfg.chat_weight)], cfg.vocab_size))
    else:
        made = pretrained_tokenizer(cfg.init_from, out.state)
    report = round_trip(made, corpus.path, cfg.checked_documents)
    if report.failures:
        raise StageError(
            f"tokenizer: {len(report.failures)} of {report.documents} documents do not survive encoding and decoding, "
            f"the first is {report.failures[0]}; expected none; use another init_from, or report a bug"
        )
    made.save_pretrained(out.path)
    summary = {"vocab_size": len(made), "bytes_per_token": report.bytes_per_token, "round_trip_failures": 0}
    (out.path / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return {**summary, "round_trip_documents": report.documents}
