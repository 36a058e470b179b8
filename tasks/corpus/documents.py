"""A record of any source becomes a draft: its text, metadata, and what rules and duplicate search look at."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks.corpus.code.languages import language_of as programming_language
from tasks.corpus.code.measures import measure_code
from tasks.corpus.dedup.key import key_of
from tasks.corpus.dedup.shingles import shingling_of
from tasks.corpus.extract import Unextractable, title_and_text
from tasks.corpus.language import language_of
from tasks.corpus.normalise import normalise, normalise_markdown
from tasks.corpus.pii import mask
from tasks.corpus.plain import plain
from tasks.corpus.poem import Poem, metadata, poem
from tasks.verse import han

CONTENT = ("text", "html")
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass
class Draft:
    """A document on its way through the rules."""

    text: str
    metadata: str  # canonical JSON
    body: str  # the text without title and author
    poem: Poem | None = None
    url: str = ""
    long: bool = False  # judged window by window
    code: str | None = None  # the programming language, "" when unknown; None where it is not code
    prose: str | None = None  # of Markdown, what the web-text rules measure; the text itself where it is not Markdown
    scores: dict[str, float] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """What duplicates share: the body's characters, without case, punctuation and spaces; of code its tokens."""
        if self.code is not None:
            return " ".join(_TOKEN.findall(self.body))
        return (self.poem and han(self.body)) or key_of(self.body)

    @cached_property
    def shingling(self) -> str:
        """By what near duplicates are looked for."""
        return shingling_of(self.key, self.poem is not None).name

    @cached_property
    def detected(self) -> tuple[str, float]:
        """(ISO 639-1 code or "", share of letters that are Chinese characters) of the body as it came."""
        return language_of(self.body)

    @property
    def language(self) -> str:
        """ISO 639-1 code, or the name of the programming language; "" when unknown."""
        return self.detected[0] if self.code is None else self.code


class Malformed(ValueError):
    """A record whose fields are not what a document is made of."""


def draft(
    fields: dict[str, Any],
    simplify: bool = True,
    extractor: str = "trafilatura",
    keep_links: bool = True,
    mask_personal_data: bool = True,
    code: bool = False,
) -> Draft:
    """A draft from a record with `paragraphs` (a poem), `html` (a page) or `text`; of code with `code` and `path`.

    code: the record is of a part that has code (see `Part.is_code`). The other options are those of `CorpusConfig`.

    Raises:
        Malformed: no such field is there, a field has the wrong type, holds NUL characters (binary data) or a number
            that JSON has not, or no text can be taken from a page.
    """
    if code:
        return _code_draft(fields, mask_personal_data)
    if "paragraphs" in fields:
        return _poem_draft(fields, simplify)
    if "html" in fields:
        title, text = _page(_text(fields, "html"), extractor, keep_links)
        fields = ({"title": normalise(title, simplify)} if title else {}) | fields
        text = normalise_markdown(text, simplify)
    else:
        text = normalise(_text(fields, "text"), simplify)
    kept = {k: v for k, v in fields.items() if k not in CONTENT and isinstance(v, str | int | float | bool)}
    masked = Counter[str]()
    if mask_personal_data:
        text = _masked(text, masked)
        kept = {k: _masked(v, masked) if isinstance(v, str) else v for k, v in kept.items()}
    prose = plain(text) if "html" in fields else None
    odd = next((k for k, v in kept.items() if isinstance(v, float) and not math.isfinite(v)), "")
    if odd:
        raise Malformed(f"{odd}: {kept[odd]} is no number that JSON has")
    url = fields.get("url")
    scores = {f"masked_{name.lower()}": float(count) for name, count in masked.items()}
    scores["masked"] = float(masked.total())
    return Draft(text, metadata(kept), text, url=url if isinstance(url, str) else "", scores=scores, prose=prose)


def _masked(text: str, count: Counter[str]) -> str:
    """The text without personal data; `count` grows by what there was."""
    text, found = mask(text)
    count += found
    return text


def _code_draft(fields: dict[str, Any], mask_personal_data: bool) -> Draft:
    text = _text(fields, "code").lstrip("\ufeff").replace("\r\n", "\n").rstrip()
    text, masked = mask(text) if mask_personal_data else (text, {})
    path = _text(fields, "path")
    language = programming_language(path)
    scores = {"masked": float(sum(masked.values())), **measure_code(text)}
    repository = "" if fields.get("repository") is None else _text(fields, "repository")
    facts = {"path": path, "language": language, "repository": repository}
    return Draft(text, metadata(facts), text, code=language, scores=scores)


def _page(html: str, extractor: str, keep_links: bool) -> tuple[str, str]:
    try:
        return title_and_text(html, extractor, keep_links)
    except Unextractable as error:
        raise Malformed(f"html: {error}") from error


def _poem_draft(fields: dict[str, Any], simplify: bool) -> Draft:
    paragraphs = fields["paragraphs"]
    if not isinstance(paragraphs, list):
        raise Malformed(f"paragraphs: expected a list of texts, found {type(paragraphs).__name__}")
    other = next((type(p).__name__ for p in paragraphs if not isinstance(p, str)), "")
    if other:
        raise Malformed(f"paragraphs: expected a list of texts, found a list with {other}")
    parts = [_text(fields, "title", ""), _text(fields, "author", ""), "\n".join(paragraphs)]
    if "\0" in parts[2]:
        raise Malformed("paragraphs: holds NUL characters; expected text")
    one = poem(*(normalise(part, simplify) for part in parts))
    extra = {"dynasty": fields["dynasty"]} if isinstance(fields.get("dynasty"), str) else {}
    kept = {"title": one.title, "author": one.author, "lines": one.lines, "form": one.form, **extra}
    return Draft(one.text, metadata(kept), one.verse, one)


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if value is None:
        raise Malformed(f"{name}: missing; the record has {', '.join(sorted(fields)) or 'no fields'}")
    if not isinstance(value, str):
        raise Malformed(f"{name}: expected a text, found {type(value).__name__}")
    if "\0" in value:
        raise Malformed(f"{name}: holds NUL characters; expected text")
    return value
