"""Fenced code blocks of Markdown (CommonMark 0.31, section 4.5), found in one pass over a text's lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE = re.compile(r"^ *(?:(`{3,})[^`\n]*|(~{3,}).*)$", re.MULTILINE)


class _Fence(NamedTuple):
    start: int
    stop: int
    mark: str
    size: int  # of its marks
    bare: bool  # nothing behind the marks, so that it may close


def fenced(text: str) -> Iterator[tuple[int, int]]:
    """(start, stop) of each block, fences included; one that nothing closes is none. Any indent will do."""
    fences = [_fence(found) for found in _LINE.finditer(text)]
    longest = _longest_ahead(fences)
    place = 0
    while place < len(fences):
        begin = fences[place]
        place += 1
        if longest[place].get(begin.mark, 0) >= begin.size:
            while not _closes(fences[place], begin):
                place += 1
            yield begin.start, fences[place].stop
            place += 1


def split(text: str) -> Iterator[tuple[str, str]]:
    """(prose, the block behind it) in order; the last block is empty."""
    place = 0
    for start, stop in fenced(text):
        yield text[place:start], text[start:stop]
        place = stop
    yield text[place:], ""


def _fence(found: re.Match[str]) -> _Fence:
    marks = found[1] or found[2]
    return _Fence(found.start(), found.end(), marks[0], len(marks), found[0].strip() == marks)


def _closes(fence: _Fence, begin: _Fence) -> bool:
    return fence.bare and fence.mark == begin.mark and fence.size >= begin.size


def _longest_ahead(fences: list[_Fence]) -> list[dict[str, int]]:
    """By place, the size of the longest fence of each mark that may close, from there on."""
    ahead: list[dict[str, int]] = [{}]
    for fence in reversed(fences):
        last = ahead[-1]
        longer = fence.bare and fence.size > last.get(fence.mark, 0)
        ahead.append(last | {fence.mark: fence.size} if longer else last)
    return ahead[::-1]
