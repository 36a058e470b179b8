"""Answers that must fit a grammar: which tokens may come next (llguidance; Geng et al. 2023)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Grammar:
    """What an answer must look like: in llguidance's own notation, made by one of the functions below."""

    source: str


def json_schema(schema: dict[str, Any]) -> Grammar:
    """JSON that the schema allows. Raises ValueError for a schema that is not understood or that nothing satisfies."""
    from llguidance import LLMatcher

    return _checked(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_pattern": r"[ \n]?"}))


def regex(pattern: str) -> Grammar:
    """Text that the regular expression matches from start to end. Raises ValueError for one that is none."""
    from llguidance import LLMatcher

    return _checked(LLMatcher.grammar_from_regex(pattern))


def choice(options: Sequence[str]) -> Grammar:
    """One of the options, word for word. Raises ValueError when there are none."""
    if not options or not all(options):
        raise ValueError("choice: expected at least one option, none of them empty")
    return lark("start: " + " | ".join(json.dumps(option, ensure_ascii=False) for option in options))


def lark(source: str) -> Grammar:
    """A context-free grammar in llguidance's dialect of Lark. Raises ValueError for one that is none."""
    from llguidance import LLMatcher

    return _checked(LLMatcher.grammar_from_lark(source))


def _checked(source: str) -> Grammar:
    from llguidance import LLMatcher

    problem = LLMatcher.validate_grammar(source)
    if problem:
        raise ValueError(f"grammar: {problem.splitlines()[0]}")
    return Grammar(source)


class Vocabulary:
    """A model's tokens as the grammars see them. Made once, as it takes about a second."""

    def __init__(self, directory: Path, size: int, stop_ids: Sequence[int]):
        from llguidance import LLTokenizer

        text = (directory / "tokenizer.json").read_text(encoding="utf-8")
        self.size = size
        self._tokens = LLTokenizer(text, n_vocab=size, eos_token=list(stop_ids) or None)

    def matcher(self, grammar: Grammar) -> "Matcher":
        return Matcher(self, grammar)

    def _start(self, grammar: Grammar) -> Any:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokens, grammar.source)
        if matcher.is_error():
            raise ValueError(f"grammar: {matcher.get_error().splitlines()[0]}")
        return matcher


class Matcher:
    """How far one answer has come in its grammar. Raises ValueError when the grammar cannot begin."""

    def __init__(self, vocabulary: Vocabulary, grammar: Grammar):
        self._matcher = vocabulary._start(grammar)
        self._words = np.zeros(-(-vocabulary.size // 32), np.int32)
        self._size = vocabulary.size

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
