"""Measures of classical Chinese verse: lines and form, rhyme, variety. Pure functions of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

LINE_END = "，。！？；：,.!?;:\n"
HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ENDS = re.compile(f"[{re.escape(LINE_END)}]+")
_NOT_HAN = re.compile(f"[^{HAN}]+")
_PAUSES = re.compile(r"(?:[^\S\n]|[、·“”‘’「」『』《》〈〉])+")
_COUPLET = re.compile(f"[{HAN}]+[，；？！：]\\s?[{HAN}]+[。？！；]\\s?")

# The thirteen tracks (十三辙), the rhyme classes of modern northern verse: tones are not told apart. Final -> track.
_TRACKS = {
    "发花": "a ia ua",
    "梭坡": "o e uo",
    "乜斜": "ê ie ve",
    "一七": "i v er -i",
    "姑苏": "u",
    "怀来": "ai uai",
    "灰堆": "ei uei",
    "遥条": "ao iao",
    "油求": "ou iou",
    "言前": "an ian uan van",
    "人辰": "en in uen vn",
    "江阳": "ang iang uang",
    "中东": "eng ing ueng ong iong",
}
_TRACK_OF = {final: track for track, finals in _TRACKS.items() for final in finals.split()}


def han(text: str) -> str:
    """The Chinese characters of a text, without anything between them."""
    return _NOT_HAN.sub("", text)


def split_lines(text: str) -> list[str]:
    """Verse lines: cut at commas, stops and line ends; the pause mark 、, quotes and spaces stay out of them."""
    return list(filter(None, _ENDS.split(_PAUSES.sub("", text))))


def form_of(lines: Sequence[str]) -> str:
    """CHARACTERSxLINES, "5x4" for a five-character quatrain; "" unless two lines or more, all Chinese, equally long."""
    length = len(lines[0]) if lines else 0
    regular = (
        len(lines) > 1 and length and all(len(line) == length for line in lines) and not _NOT_HAN.search("".join(lines))
    )
    return f"{length}x{len(lines)}" if regular else ""


def matches_form(text: str, form: str) -> bool:
    """Whether a text is nothing but verse of the asked form, whatever its punctuation."""
    return bool(form) and form_of(split_lines(text)) == form


def punctuated_in_couplets(text: str) -> bool:
    """Whether a text is all couplets: a line that pauses, then one that stops."""
    return bool(text) and not _COUPLET.sub("", _PAUSES.sub("", text.strip()))


@lru_cache(maxsize=65_536)
def rhyme_group(character: str) -> str:
    """The rhyme class of a character by its commonest modern reading; "" for what is not a Chinese character.

    Classes: the thirteen tracks (十三辙). They are near the Pingshui groups where those still rhyme today, and blind to
    tone and to the lost entering tone; so judge a rate against that of real poems, never against one.
    """
    from pypinyin import Style, lazy_pinyin

    if not han(character):
        return ""
    initial = lazy_pinyin(character, style=Style.INITIALS, strict=True)[0]
    final = lazy_pinyin(character, style=Style.FINALS, strict=True)[0]
    if final == "i" and initial in {"zh", "ch", "sh", "r", "z", "c", "s"}:
        final = "-i"
    return _TRACK_OF.get(final, "")


def rhymes(a: str, b: str) -> bool:
    """Whether two characters rhyme: both have the same, known rhyme class."""
    return rhyme_group(a) == rhyme_group(b) != ""


def rhyme_rate(lines: Sequence[str]) -> float | None:
    """Share of neighbouring even lines (2nd and 4th, 4th and 6th, ...) whose last characters rhyme.

    None when there are fewer than two even lines. A change of rhyme within a long poem costs one pair, not the rest.
    """
    ends = [line[-1] for line in lines[1::2] if line]
    pairs = [rhymes(a, b) for a, b in pairwise(ends)]
    return sum(pairs) / len(pairs) if pairs else None


def ngrams(text: str, n: int) -> list[str]:
    """The character n-grams of a text, in order."""
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct character n-grams over all n-grams of the texts' Chinese characters (Li et al. 2016); 0 without any."""
    grams = [gram for text in texts for gram in ngrams(han(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(text: str, n: int = 2) -> float:
    """Share of a text's character n-grams that repeat an earlier one (seq-rep-n, Welleck et al. 2020)."""
    grams = ngrams(han(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
