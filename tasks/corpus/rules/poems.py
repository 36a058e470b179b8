"""Rules that look at poems: the title, the lines, and what editors put in."""

from __future__ import annotations

import re

from tasks.corpus.documents import Draft
from tasks.corpus.rules.rule import NOTHING, Bound, Rule, around
from tasks.verse import han

_BRACKETS = re.compile(r"[()（）\[\]［］〔〕〖〗【】]")


class CatalogueEntry(Rule):
    """Records that only say a poem exists elsewhere."""

    name = "catalogue_entry"

    def fault(self, draft: Draft) -> str:
        return "names a poem that stands elsewhere" if draft.poem and draft.poem.is_catalogue_entry else NOTHING


class Drama(Rule):
    """Scenes of plays: speech and stage directions between the arias."""

    name = "drama"

    def fault(self, draft: Draft) -> str:
        return "stage directions" if draft.poem and draft.poem.is_drama else NOTHING


class EditorialNotes(Rule):
    """Poems of which editors wrote much, or whose notes do not end."""

    name = "editorial_notes"

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "note_share", most=most),)

    def fault(self, draft: Draft) -> str:
        if draft.poem is None:
            return NOTHING
        draft.scores["note_share"] = draft.poem.note_share
        left = _BRACKETS.search(draft.text)
        if left:
            return f"a bracket left in {around(draft.text, left.start())}"
        too_much = draft.poem.note_share > self.most
        return f"{draft.poem.note_share:.0%} of it are notes" if too_much else NOTHING


class LineLength(Rule):
    """Poems with a line no verse has: prose, or verse without its punctuation."""

    name = "line_length"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "longest_line", most=most),)

    def fault(self, draft: Draft) -> str:
        longest = max(map(len, draft.poem.lines), default=0) if draft.poem else 0
        draft.scores["longest_line"] = longest
        return f"a line of {longest} characters" if longest > self.most else NOTHING


class Title(Rule):
    """Poems whose title is a preface, or holds part of the poem."""

    name = "title"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.bounds = (Bound(self.name, "title_length", most=most),)

    def fault(self, draft: Draft) -> str:
        size = len(han(draft.poem.title)) if draft.poem else 0
        draft.scores["title_length"] = size
        if size > self.most:
            return f"a title of {size} characters"
        runs_on = draft.poem and "·" in draft.poem.title and re.search("[，。]", draft.poem.title)
        return "the title runs on into the verse" if runs_on else NOTHING
