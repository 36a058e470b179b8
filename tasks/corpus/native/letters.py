"""How many letters a text has, and how many of them are Chinese, Japanese or Korean."""

from __future__ import annotations

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import HAN, HAN_RANGES, KANA_OR_HANGUL, LETTER, SIZE

_LAST = HAN_RANGES[-1][1]  # beyond it there is no letter


@kernel
def count_letters(codes, table):
    """(letters, Chinese characters, kana and hangul) of uint32 code points."""
    letters = han = kana_or_hangul = 0
    for code in codes:
        if code <= _LAST:
            bits = table[min(code, SIZE - 1)]
            letters += bits & LETTER > 0
            han += bits & HAN > 0
            kana_or_hangul += bits & KANA_OR_HANGUL > 0
    return letters, han, kana_or_hangul
