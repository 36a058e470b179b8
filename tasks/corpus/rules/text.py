"""Rules that look at any text: its characters, language, length and repeated lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tasks.corpus.documents import Draft
from tasks.corpus.rules.rule import NOTHING, Bound, Rule, around
from tasks.verse import split_lines

_LOST = re.compile("\ufffd")  # in prose, where ● and □ are bullets and boxes, and private use is icons
# Lost characters (□ ○ ●), ones without a code point (private use, descriptions such as ⿰ or {木/又}), decoding damage
_MISSING = re.compile("[□○●■◆◇〓\ufffd\ue000-\uf8ff\u2ff0-\u2fff\U000f0000-\U0010fffd]")
_DAMAGE = re.compile("[{}<>|*=+/\u3040-\u30fa\u30fc-\u312f\u2500-\u257f\u0400-\u04ffA-Za-zａ-ｚ]|[\u2e80-\u2fdf]")


class Empty(Rule):
    name = "empty"
    judges_code = True

    def fault(self, draft: Draft) -> str:
        return NOTHING if draft.key else "no verse" if draft.poem else "no text"


class MissingCharacters(Rule):
    """Texts that lost characters: prose by the mark of decoders, poems by those of editors and by damage, too."""

    name = "missing_characters"

    def fault(self, draft: Draft) -> str:
        signs = (_MISSING, _DAMAGE) if draft.poem else (_LOST,)
        lost = next(filter(None, (sign.search(draft.text) for sign in signs)), None)
        if lost:
            return f"{lost[0]} in {around(draft.text, lost.start())}"
        return "a gap that editors mark" if draft.poem and draft.poem.has_lacuna else NOTHING


class Language(Rule):
    name = "language"

    def __init__(self, languages: Sequence[str]) -> None:
        super().__init__()
        self.languages = set(languages)

    def fault(self, draft: Draft) -> str:
        draft.scores["han_share"] = draft.detected[1]
        return NOTHING if draft.language in self.languages else f"language {draft.language or 'unknown'}"


class Length(Rule):
    name = "length"
    judges_code = True

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self.least, self.most = least, most
        self.bounds = (Bound(self.name, "characters_judged", least, most),)

    def applies(self, draft: Draft) -> bool:
        return not draft.long

    def fault(self, draft: Draft) -> str:
        size = len(draft.key)
        draft.scores["characters_judged"] = size
        return NOTHING if self.least <= size <= self.most else f"{size} characters"


class LongLength(Rule):
    """Texts beyond what even a long one may have; asked where a language has rules for long texts."""

    name = "long_length"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "long_characters", most=most),)

    def applies(self, draft: Draft) -> bool:
        return draft.long

    def fault(self, draft: Draft) -> str:
        size = draft.scores["long_characters"]
        return f"{size:.0f} characters" if size > self.most else NOTHING


class Repetition(Rule):
    """Texts that say much of what they say again: characters in repeated lines (after Rae et al. 2021, table A1)."""

    name = "repetition"

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "repeated_share", most=most),)

    def fault(self, draft: Draft) -> str:
        lines = Counter(draft.poem.lines if draft.poem else split_lines(draft.body))
        whole = sum(len(line) * n for line, n in lines.items())
        share = sum(len(line) * (n - 1) for line, n in lines.items()) / whole if whole else 0.0
        draft.scores["repeated_share"] = share
        return f"{share:.0%} of it is repeated lines" if share > self.most else NOTHING
