"""The poems of a corpus artifact: regular verse to learn forms from, with a held-out part that no stage trains on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.documents import Document, read_documents, shards
from tasks.poet_tools import FORMS
from tasks.verse import rhyme_rate


@dataclass(frozen=True)
class Poem:
    """A poem of one of the four regular forms; `lines` bear no punctuation."""

    id: str
    title: str
    author: str
    lines: tuple[str, ...]
    form: str

    @cached_property
    def text(self) -> str:
        """The verse with its punctuation, two lines to a row."""
        return verse(self.lines)


def verse(lines: tuple[str, ...] | list[str]) -> str:
    """Lines as couplets: a comma inside, a full stop and a new row after."""
    ends = ("，", "。\n")
    text = "".join(line + ends[number % 2] for number, line in enumerate(lines))
    return text[:-1] + "。" if len(lines) % 2 else text.removesuffix("\n")


def regular_poems(corpus: Path, split: str, share: float = 1.0) -> Iterator[Poem]:
    """The split's poems in one of the four forms; of a share of the documents only, chosen by their ids' hash."""
    for shard in shards(corpus, split):
        for document in read_documents(shard):
            if unit_hash(document.id) < share and (poem := _poem(document)):
                yield poem


def unit_hash(text: str, salt: str = "") -> float:
    """A number in [0, 1) that is always the same for the same text."""
    return int.from_bytes(hashlib.sha256(f"{salt}{text}".encode()).digest()[:7], "big") / 2**56


def without(poems: Iterator[Poem], held_out: list[Poem]) -> Iterator[Poem]:
    """The poems that share neither title nor any line with a held-out one."""
    titles = {poem.title for poem in held_out}
    lines = {line for poem in held_out for line in poem.lines}
    for poem in poems:
        if poem.title not in titles and lines.isdisjoint(poem.lines):
            yield poem


def training_poems(corpus: Path, held_out: list[Poem], wanted: int, salt: str) -> list[Poem]:
    """So many training poems that rhyme to this day, of every form alike, in an order that only their ids decide.

    Fewer when there are no more. None is near a held-out one. Rhymes that sound changes have broken are left out: they
    would teach that verse need not rhyme.
    """
    share, each = 0.1, -(-wanted // len(FORMS))
    while True:
        poems = without(regular_poems(corpus, "train", share), held_out)
        by_form: dict[str, list[Poem]] = {form: [] for form in FORMS.values()}
        for poem in poems:
            if rhyme_rate(poem.lines) == 1:
                by_form[poem.form].append(poem)
        if min(map(len, by_form.values())) >= each or share >= 1:
            chosen = [p for some in by_form.values() for p in sorted(some, key=lambda p: unit_hash(p.id, salt))[:each]]
            return sorted(chosen, key=lambda poem: unit_hash(poem.id, salt))[:wanted]
        share = min(1.0, share * 3)


def _poem(document: Document) -> Poem | None:
    data = document.metadata
    if data.get("form") not in FORMS.values() or not data.get("title"):
        return None
    author = data.get("author") or "佚名"
    return Poem(document.id, data["title"], author, tuple(data["lines"]), data["form"])
