"""How many characters and tokens texts hold, counted on their UTF-8 bytes as they lie in an Arrow column."""

from __future__ import annotations

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import ALPHA, DIGIT, HAN, LETTER, SIZE, SPACE

_WORD = ALPHA | LETTER | DIGIT
_UNDERSCORE = 95


@kernel
def count(data, offsets, table, characters, tokens):
    """Into int32 [texts] each; text i is data[offsets[i]:offsets[i + 1]] (uint8, valid UTF-8)."""
    for text in range(len(offsets) - 1):
        inside, i, stop = False, offsets[text], offsets[text + 1]
        characters[text] = tokens[text] = 0
        while i < stop:
            first = np.uint32(data[i])
            length = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            code = first if length == 1 else first & np.uint32(0xFF >> (length + 1))
            for j in range(1, length):
                code = (code << np.uint32(6)) | (np.uint32(data[i + j]) & np.uint32(0x3F))
            bits = table[min(code, np.uint32(SIZE - 1))]
            word = not bits & HAN and (bits & _WORD or code == _UNDERSCORE)
            if not bits & SPACE and not (word and inside):
                tokens[text] += 1
            inside = word
            characters[text] += 1
            i += length
