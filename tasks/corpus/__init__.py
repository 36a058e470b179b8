"""The corpus stage: sources -> clean, deduplicated, split text with a ledger of every decision."""

from tasks.corpus.stage import CorpusConfig, corpus

__all__ = ["CorpusConfig", "corpus"]
