"""Classical poems: editors' notes taken out, then one text to train on and the facts that rules judge by."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property

from tasks.verse import HAN, form_of, han, punctuated_in_couplets, split_lines

_NUMERAL = "〇○一二三四五六七八九十百0-9"
_INNERMOST = re.compile(r"（[^（）]*）|\([^()]*\)|〖[^〖〗]*〗|〔[^〔〕]*〕")
_FOOTNOTE = re.compile(f"[\\[［][{_NUMERAL}]+[\\]］]")
_SUPPLIED = re.compile(f"[\\[［]([{HAN}，。]+)[\\]］]")
_NO_VERSE = re.compile(f"^[^{HAN}□]+$", re.MULTILINE)
_DOUBLE_MARK = re.compile(r"([，。！？；：])[，。！？；：]+")
_ZERO = re.compile(f"(?<=[{_NUMERAL}])○|○(?=[{_NUMERAL}])")
_IN_TITLE = str.maketrans({"\n": " ", "/": "·", "・": "·"})
_LACUNA = re.compile(r"[（(〖]\W*(?:下|上|以下|原)?[缺阙佚略]")
_STAGE = re.compile(r"[(（<][^()（）]{0,14}[云唱白科下上念介旦末净丑外生合贴][)）]")
_NOT_STAGE = re.compile(r"[(（](?:以|见|均|并|同)")
_ENTRY = re.compile(r"^存目|诗题：|首句：")


@dataclass(frozen=True)
class Poem:
    """A poem after normalisation."""

    title: str
    author: str
    verse: str  # with punctuation, a paragraph per line
    raw: str  # the paragraphs before notes were taken out
    raw_title: str

    @property
    def text(self) -> str:
        """What is trained on: 《title》author, then the verse."""
        head = f"《{self.title}》{self.author}" if self.title else self.author
        return f"{head}\n{self.verse}" if head else self.verse

    @cached_property
    def lines(self) -> list[str]:
        return split_lines(self.verse)

    @property
    def form(self) -> str:
        """CHARACTERSxLINES when all lines are equally long and punctuated in couplets, else ""."""
        return form_of(self.lines) if punctuated_in_couplets(self.verse) else ""

    @cached_property
    def note_share(self) -> float:
        """Share of the record's characters that editors wrote."""
        whole = len(han(self.raw))
        return 1 - len(han(self.verse)) / whole if whole else 0.0

    @property
    def has_lacuna(self) -> bool:
        return bool(_LACUNA.search(self.raw))

    @property
    def is_drama(self) -> bool:
        """Whether it is a scene: stage directions stand in it, （正末唱), (云), or the author comes with a play."""
        return "《" in self.author or any(not _NOT_STAGE.match(found[0]) for found in _STAGE.finditer(self.raw))

    @property
    def is_catalogue_entry(self) -> bool:
        """Whether it only records that a poem exists elsewhere: 存目 诗题：… 首句：…."""
        return bool(_ENTRY.search(self.raw_title) or _ENTRY.search(self.raw))


def poem(title: str, author: str, paragraphs: str) -> Poem:
    """A poem from normalised fields; `paragraphs` are separated by line ends."""
    return Poem(
        title=_ZERO.sub("〇", without_notes(title)).translate(_IN_TITLE).strip(" 。"),
        author=re.sub(r"\d+$", "", without_notes(author)).strip(),
        verse=_without_empty_lines(without_notes(paragraphs).replace('"', "")),
        raw=paragraphs,
        raw_title=title,
    )


def without_notes(text: str) -> str:
    """A text without notes in brackets, over line ends too; characters that editors supplied, 高[姒]幄, stay."""
    text, found = _SUPPLIED.sub(r"\1", _FOOTNOTE.sub("", text)), 1
    while found:
        text, found = _INNERMOST.subn("", text)
    return text


def metadata(fields: dict[str, object]) -> str:
    """Canonical JSON: sorted keys, no spaces, no escapes. Raises ValueError for a number that JSON has not."""
    return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _without_empty_lines(verse: str) -> str:
    return re.sub(r"\n+", "\n", _NO_VERSE.sub("", _DOUBLE_MARK.sub(r"\1", verse))).strip()
