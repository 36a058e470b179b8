"""The corpus stage: sources -> clean, deduplicated, split text with a ledger of every decision."""

from tasks.corpus.config import CorpusConfig
from tasks.corpus.stage import corpus

__all__ = ["CorpusConfig", "corpus"]
