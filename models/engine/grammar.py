"""Answers that must fit a grammar: which tokens may come next (llguidance; Geng et al. 2023)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

COMPILED = 16  # grammars kept: an agent asks with the same few again and again
TRIED = 4  # tokens: a grammar that is too complex mostly fails at once


@dataclass(frozen=True)
class Grammar:
    """What an answer must look like: in llguidance's own notation, made by one of the functions below."""

    source: str


def json_schema(schema: dict[str, Any]) -> Grammar:
    """JSON that the schema allows. Raises ValueError for one nested too deeply."""
    from llguidance import LLMatcher

    try:
        options = {"whitespace_pattern": r"[ \n]?"}
        return Grammar(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"grammar: {error}") from None


def regex(pattern: str) -> Grammar:
    """Text that the regular expression matches from start to end."""
    from llguidance import LLMatcher

    return Grammar(LLMatcher.grammar_from_regex(pattern))


def choice(options: Sequence[str]) -> Grammar:
    """One of the options, word for word. Raises ValueError when there are none."""
    if not options or not all(options):
        raise ValueError("choice: expected at least one option, none of them empty")
    return lark("start: " + " | ".join(json.dumps(option, ensure_ascii=False) for option in options))


def lark(source: str) -> Grammar:
    """A context-free grammar in llguidance's dialect of Lark."""
    from llguidance import LLMatcher

    return Grammar(LLMatcher.grammar_from_lark(source))


class Vocabulary:
    """A model's tokens as the grammars see them. Made once, as it takes about a second; for any thread."""

    def __init__(self, directory: Path, size: int, stop_ids: Sequence[int]):
        from llguidance import LLTokenizer

        text = (directory / "tokenizer.json").read_text(encoding="utf-8")
        self.size = size
        self._tokens = LLTokenizer(text, n_vocab=size, eos_token=list(stop_ids) or None)
        self._compiled = lru_cache(COMPILED)(self._compile)

    def matcher(self, grammar: Grammar) -> "Matcher":
        """A new answer's matcher. Compiling may take a second, and is done once for the grammars used of late.

        Raises ValueError for a grammar that is not understood, that nothing satisfies, or that is too complex.
        """
        return self._compiled(grammar).copy()

    def _compile(self, grammar: Grammar) -> "Matcher":
        from llguidance import LLMatcher

        matcher = Matcher(LLMatcher(self._tokens, grammar.source), self.size)
        matcher.copy().try_out()
        return matcher


class Matcher:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: Any, size: int):
        self._matcher, self._size = matcher, size
        self._words = np.zeros(-(-size // 32), np.int32)

    def copy(self) -> "Matcher":
        return Matcher(self._matcher.deep_copy(), self._size)

    def try_out(self) -> None:
        """Take some tokens that are allowed. Raises ValueError when the grammar fails at that."""
        for _ in range(TRIED):
            allowed = self.allowed()
            if self.failed:
                raise ValueError(f"grammar: {self.problem}")
            if self.ended or not allowed.any():
                return
            self.take(int(allowed.argmax()))

    def allowed(self) -> np.ndarray:
        """Which tokens may come next [vocabulary], the end among them once the answer is complete."""
        self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        return np.unpackbits(self._words.view(np.uint8), bitorder="little")[: self._size].view(bool)

    def take(self, token: int) -> None:
        """Go on by one token."""
        self._matcher.consume_token(token)

    @property
    def ended(self) -> bool:
        """Nothing may follow."""
        return self._matcher.is_stopped()

    @property
    def failed(self) -> bool:
        """The grammar could not be followed further: what is said so far need not be the beginning of anything."""
        return self._matcher.is_error()

    @property
    def problem(self) -> str:
        """Why it failed."""
        return (self._matcher.get_error() or "unknown").splitlines()[0]
