"""Runs of characters that an earlier document holds: exact substring deduplication (Lee et al. 2022, section 4.1).

Lee et al. sort all suffixes; here the blocks of half a run's length of what stays are kept in a hash table and every
text is rolled over it, so 16 bytes a block are in memory, 4 bytes a character on disk, and the text is read once.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np

from tasks.corpus.dedup.passages import Repeat
from tasks.corpus.fences import split

END = 0xFFFFFFFF  # stands between texts, and in none
FEWEST = 1 << 16  # slots of a new table; characters of a new store


class Spans:
    """What stays of the documents so far; asked for runs of `least` characters and more."""

    def __init__(self, file: Path, least: int) -> None:
        self.least, self.block = least, (least + 1) // 2  # so that a run holds a whole block, wherever it starts
        self.file, self.size, self.blocks = file, 0, 0
        file.unlink(missing_ok=True)
        self.store = self._mapped(FEWEST)
        self.hashes, self.places = _table(FEWEST)
        self.starts: list[int] = []
        self.documents: list[int] = []

    def repeats(self, text: str) -> list[Repeat]:
        """The runs of a text that earlier documents hold, cut back to whole words; none in fenced code."""
        found, at = [], 0
        for prose, code in split(text):
            whole = prose.rstrip()  # so that a fence keeps the line it stands on
            found += [Repeat(at + start, at + stop, of) for start, stop, of in self._repeats(whole)]
            at += len(prose) + len(code)
        return found

    def remember(self, text: str, document: int) -> None:
        """Note what stays of a document, but for fenced code."""
        for prose, _ in split(text):
            self._remember(prose, document)

    def _repeats(self, prose: str) -> list[Repeat]:
        from tasks.corpus.native import code_points
        from tasks.corpus.native.spans import repeated_spans

        found = repeated_spans(code_points(prose), self.store, self.hashes, self.places, self.block, self.least)
        whole = ((*_whole_words(prose, start, stop), place) for start, stop, place in found.tolist())
        return [Repeat(start, stop, self._holder(place)) for start, stop, place in whole if start < stop]

    def _remember(self, prose: str, document: int) -> None:
        from tasks.corpus.native import code_points
        from tasks.corpus.native.spans import insert_blocks, move_blocks

        codes, start = code_points(prose), self.size
        self.size += len(codes) + 1
        while self.size > len(self.store):
            self.store = self._mapped(2 * len(self.store))
        self.store[start : self.size - 1], self.store[self.size - 1] = codes, END
        while 2 * (self.blocks + len(codes) // self.block) > len(self.hashes):
            old, (self.hashes, self.places) = (self.hashes, self.places), _table(2 * len(self.hashes))
            move_blocks(self.hashes, self.places, *old)
        self.blocks += insert_blocks(self.hashes, self.places, self.store, start, self.size - 1, self.block)
        self.starts.append(start)
        self.documents.append(document)

    def _holder(self, place: int) -> int:
        return self.documents[bisect_right(self.starts, place) - 1]

    def _mapped(self, characters: int) -> np.ndarray:
        mode = "r+" if self.file.exists() else "w+"
        return np.memmap(self.file, np.uint32, mode, shape=(characters,)).view(np.ndarray)


def _table(slots: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 hashes, int64 places or -1 where free)."""
    return np.zeros(slots, np.uint64), np.full(slots, -1, np.int64)


def _whole_words(text: str, start: int, stop: int) -> tuple[int, int]:
    """The range without the words of Latin letters that it cuts in two, and without the space before it."""
    while start < stop and start and _joined(text[start - 1], text[start]):
        start += 1
    while start < stop and text[start].isspace():
        start += 1
    while start < stop < len(text) and _joined(text[stop - 1], text[stop]):
        stop -= 1
    return start, stop


def _joined(a: str, b: str) -> bool:
    return a.isascii() and b.isascii() and a.isalnum() and b.isalnum()
