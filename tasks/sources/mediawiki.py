"""Plain text of the articles in a MediaWiki XML dump."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from xml.etree import ElementTree

MARKUP = [
    (r"\[\[(?:File|Image|Category):.*?\]\]", ""),
    (r"<!--.*?-->", ""),
    (r"<ref\b[^>/]*/>|<ref\b.*?</ref>", ""),
    (r"<(math|gallery|timeline|source|syntaxhighlight|imagemap)\b.*?</\1>", ""),
    (r"</?\w[^<>]*>", ""),
    (r"\[https?://\S+\s+([^\]]*)\]", r"\1"),
    (r"\[https?://\S+\]", ""),
    (r"'{2,5}", ""),
    (r"(?m)^=+\s*(.*?)\s*=+\s*$", r"\1"),
    (r"(?m)^[*#:;]+\s*", ""),
    (r"__[A-Z]+__", ""),
    (r"[ \t]+", " "),
    (r"(?m)^ | $", ""),
    (r"\n{3,}", "\n\n"),
]
RULES = [(re.compile(pattern, re.DOTALL), into) for pattern, into in MARKUP]
INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
NOT_ARTICLE = re.compile(r"\s*#redirect", re.IGNORECASE)


def pages(xml: bytes) -> Iterator[dict[str, str]]:
    """title and text of each article (namespace 0, no redirects), in the dump's order.

    Raises:
        ValueError: the XML breaks off or is malformed; the articles before that point have been yielded.
    """
    parser = ElementTree.XMLPullParser(["end"])  # expat >= 2.4.1 bounds entity expansion
    try:
        for start in range(0, len(xml), 1 << 20):
            parser.feed(xml[start : start + (1 << 20)])
            yield from _finished(parser)
        parser.close()
    except ElementTree.ParseError as error:
        raise ValueError(f"invalid XML: {error}") from error


def plain(wikitext: str) -> str:
    """Wikitext without templates, tables, references, files, categories and mark-up; links keep what a reader sees."""
    text, found = unescape(wikitext), 1
    while found:
        text, found = INNERMOST.subn("", text)
    found = 1
    while found:
        text, found = LINK.subn(_shown, text)
    for pattern, into in RULES:
        text = pattern.sub(into, text)
    return text.strip()


def _finished(parser: ElementTree.XMLPullParser) -> Iterator[dict[str, str]]:
    for _, element in parser.read_events():
        if element.tag.rpartition("}")[2] != "page":
            continue
        text = element.findtext("{*}revision/{*}text") or ""
        if element.findtext("{*}ns", "0") == "0" and not NOT_ARTICLE.match(text):
            yield {"title": element.findtext("{*}title") or "", "text": plain(text)}
        element.clear()


def _shown(link: re.Match[str]) -> str:
    target, _, label = link[1].rpartition("|")
    return "" if re.match(r"\s*(file|image|category|[a-z]{2,3}):", target or label, re.IGNORECASE) else label
