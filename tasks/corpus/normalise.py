"""Text normalisation: Simplified characters, NFKC, whitespace, control characters. Pure functions of text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from tasks.corpus.fences import split
from tasks.verse import HAN

if TYPE_CHECKING:
    from opencc import OpenCC

# NFKC would turn Chinese punctuation into ASCII: it waits behind noncharacters, which no text may hold (Unicode 23.7)
_FULL_WIDTH = "，！？：；（）～…"
_AWAY = {ord(mark): 0xFDD0 + i for i, mark in enumerate(_FULL_WIDTH)}
_BACK = {0xFDD0 + i: mark for i, mark in enumerate(_FULL_WIDTH)}
_ANY_AWAY = re.compile(f"[{_FULL_WIDTH}]")
_NONCHARACTERS = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_SPACES = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")  # but for a single plain one, which stays
_AROUND_LINES = re.compile(r" *\n *")
_BLANK_LINES = re.compile(r"\n{3,}")
_ASCII_MARK = re.compile(f"(?<=[{HAN}）」』”])[,!?:;]")
_INDENT = re.compile(r"^( {2,12})(?=(?:[-*]|\d{1,3}\.) )", re.MULTILINE)
_INDENT_MARK = "\u2800"  # an empty Braille pattern: no space to Unicode, so it stays in its place
_TO_FULL_WIDTH = str.maketrans(",!?:;", "，！？：；")


def normalise(text: str, simplify: bool = True) -> str:
    """A text in one spelling: NFKC but for Chinese punctuation, no control characters, single spaces, few blank lines.

    simplify: Traditional characters become Simplified (OpenCC's t2s).
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = nfkc(text)
    text = _AROUND_LINES.sub("\n", _SPACES.sub(" ", _CONTROL.sub("", text)))
    text = _ASCII_MARK.sub(lambda mark: mark[0].translate(_TO_FULL_WIDTH), _BLANK_LINES.sub("\n\n", text)).strip()
    return _converter().convert(text) if simplify else text


def normalise_markdown(text: str, simplify: bool = True) -> str:
    """`normalise` for Markdown: code keeps its lines and spaces, nested lists their indents."""
    parts = (part for prose, code in split(text) for part in (_prose(prose, simplify), _CONTROL.sub("", code)))
    return "\n\n".join(filter(None, parts)).strip("\n")


def _prose(text: str, simplify: bool) -> str:
    lines = normalise(_INDENT.sub(lambda m: _INDENT_MARK * len(m[1]), text), simplify).split("\n")
    return "\n".join(line.replace(_INDENT_MARK, " ") for line in lines).strip("\n")


def nfkc(text: str) -> str:
    """Unicode's compatibility composition (UAX 15), sparing the punctuation of Chinese text."""
    from unicodedata import normalize

    if text.isascii():
        return text
    text = _NONCHARACTERS.sub("", text)
    if not _ANY_AWAY.search(text):
        return normalize("NFKC", text)
    return normalize("NFKC", text.translate(_AWAY)).translate(_BACK)


@lru_cache(maxsize=1)
def _converter() -> OpenCC:
    from opencc import OpenCC

    return OpenCC("t2s")
