"""The tokens stage: the corpus as flat token streams, each token traceable to its document."""

from tasks.tokens.stage import TokensConfig, tokens
from tasks.tokens.trace import Origin, trace

__all__ = ["Origin", "TokensConfig", "tokens", "trace"]
