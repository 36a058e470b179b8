"""What every character is, as bits of one table that all kernels share."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np

SPACE, ALPHA, UPPER, LOWER = 1, 2, 4, 8  # a letter without case counts as both upper and lower
DIGIT = 16  # 0-9
SUBSTANCE = 32  # not one of datatrove's punctuation characters
TERMINAL = 64  # ends a sentence, in any script
NOT_PUNCTUATION = 128  # not of Unicode's categories P*
AFFIX = 256  # splits off either end of a word
CURRENCY, QUOTE, ICON = 512, 1024, 2048
HAN, KANA_OR_HANGUL, LETTER = 4096, 8192, 16384
LINE_END = 32768  # where str.splitlines() splits

SIZE = 0x20001  # characters with a bit field of their own; the last one stands for all beyond
_INSIDE_WORDS = frozenset("./\\@%-")
_ALSO_AFFIX = frozenset("<>`´_～")
_QUOTES = frozenset("'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧")
HAN_RANGES = ((0x3007, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_KANA_OR_HANGUL = ((0x3040, 0x30FF), (0x1100, 0x11FF), (0xAC00, 0xD7AF))


@lru_cache(maxsize=1)
def classes() -> np.ndarray:
    """uint16 [SIZE]: the bits of each character."""
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    table = np.array([_bits(chr(code)) for code in range(SIZE)], np.uint16)
    table[[ord(c) for c in PUNCTUATION_SET]] &= np.uint16(0xFFFF ^ SUBSTANCE)
    table[[min(ord(c), SIZE - 1) for c in TERMINAL_PUNCTUATION if ord(c) < SIZE]] |= np.uint16(TERMINAL)
    for ranges, bit in ((HAN_RANGES, HAN), (_KANA_OR_HANGUL, KANA_OR_HANGUL)):
        for first, last in ranges:
            table[min(first, SIZE - 1) : min(last, SIZE - 1) + 1] |= np.uint16(bit)
    return table


def _bits(c: str) -> int:
    category = unicodedata.category(c)
    bits = SUBSTANCE | (0 if category[0] == "P" else NOT_PUNCTUATION)
    if c.isalpha():
        bits |= ALPHA | (0 if c.islower() else UPPER) | (0 if c.isupper() else LOWER)
    bits |= LETTER if c.isalnum() and not c.isdecimal() else 0
    bits |= SPACE if c.isspace() else 0
    bits |= DIGIT if "0" <= c <= "9" else 0
    affix = (category[0] == "P" and category not in ("Pd", "Pc") and c not in _INSIDE_WORDS) or c in _ALSO_AFFIX
    bits |= AFFIX if affix or category == "So" else 0
    bits |= ICON if category == "So" else 0
    bits |= CURRENCY if category == "Sc" else 0
    bits |= QUOTE if c in _QUOTES else 0
    return bits | (LINE_END if len(f"a{c}b".splitlines()) == 2 else 0)
