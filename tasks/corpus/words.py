"""Word lists, found in a text in one pass (Aho and Corasick 1975)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.corpus.normalise import normalise
from tasks.sources import Record, Source
from tasks.verse import han


class WordList:
    """Words from text files: one a line, `#` starts a comment. Case does not count.

    A word in letters is found only whole ("ass", not "class"); a word with Chinese characters, which have no spaces
    between words, is found anywhere.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        lines = (line.partition("#")[0].strip().lower() for f in files for line in _lines(f))
        self.words = sorted(set(filter(None, lines)))

    def found(self, text: str) -> list[str]:
        """Every occurrence, in order."""
        if not self.words:
            return []
        lower = text.lower()
        hits = ((end - len(word) + 1, end + 1, word) for end, word in self._automaton.iter(lower))
        return [word for start, end, word in hits if han(word) or _whole(lower, start, end)]

    @cached_property
    def _automaton(self) -> Any:
        import ahocorasick

        automaton = ahocorasick.Automaton()
        for word in self.words:
            automaton.add_word(word, word)
        automaton.make_automaton()
        return automaton

    def __getstate__(self) -> dict[str, Any]:
        return {"words": self.words}  # workers build the automaton themselves


def words_of(source: Source, records: Iterable[Record], least: int, simplify: bool) -> set[str]:
    """The texts of a source's records, of at least `least` characters, normalised as what they are looked for in.

    Of a Chinese source only words with Chinese characters: its words in letters are everyday ones ("getting").
    """
    chinese = all(part.language == "zh" for part in source.parts.values())
    texts = (record.data["text"] for record in records if isinstance(record.data.get("text"), str))
    words = (" ".join(normalise(text, simplify).partition("#")[0].split()) for text in texts)
    return {word for word in words if len(word) >= least and (han(word) or not chinese)}


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _whole(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return not before.isalnum() and not after.isalnum()
