"""The tokenizer stage: learn a byte-level BPE vocabulary from the corpus, or take one over from a model."""

from tasks.tokenizer.stage import TokenizerConfig, tokenizer

__all__ = ["TokenizerConfig", "tokenizer"]
