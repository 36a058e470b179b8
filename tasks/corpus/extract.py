"""Main text from HTML as Markdown: by trafilatura for quality (Barbaresi 2021), by resiliparse for speed (Bevendorff
et al. 2018)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from tasks.corpus.markdown import held, markdown, table_rows

PRUNED = ("script", "style", "svg", "noscript", "template", "iframe", "object", "canvas")
MENUS = ("nav", "footer", "aside", "select", "form", "button")
ITEMS = ("li", "dd", "dt")
NAVIGATION = {"nav", "navbar", "navigation", "navheader", "navfooter", "docnav"}  # the last three are DocBook's
INLINE = ("code", "b", "strong", "i", "em", "tt", "kbd", "samp", "var", "u", "sub", "sup", "abbr", "cite", "q")
MOST_ELEMENTS = 200_000
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufdd0-\ufdef\ufffe\uffff]")  # XML's, and what `held` puts in
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")
_FENCE_IN_ITEM = re.compile(r"^( *(?:•|\d+\.)) (```)$", re.MULTILINE)
_SPACE = re.compile(r"\s+")


class Unextractable(ValueError):
    """A page that no text can be taken from; says why."""


def title_and_text(html: str, extractor: str, links: bool = True) -> tuple[str, str]:
    """(title, main text as Markdown) of a page; the text is empty when it has none.

    extractor: "trafilatura" or "resiliparse", which also has the pages that trafilatura finds no text in, such as
    reference pages that are one table. links: keep the addresses of absolute links.

    Raises:
        Unextractable: nested too deep, too many elements, or not HTML.
    """
    tree = page_tree(html)
    title = _SPACE.sub(" ", tree.findtext(".//title") or "").strip()
    try:
        text = EXTRACTORS[extractor](tree, links)
        return title, text or (by_resiliparse(page_tree(html), links) if extractor == "trafilatura" else "")
    except Exception as error:  # the libraries' own bugs on a page that nobody foresaw: that page is set aside
        raise Unextractable(f"{extractor} failed: {type(error).__name__}: {error}") from error


def page_tree(html: str) -> Any:
    """The page as an lxml tree, without scripts and with the colours inside code taken off."""
    from lxml import etree
    from lxml import html as lxml_html

    parser = lxml_html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = lxml_html.document_fromstring(_FORBIDDEN.sub("", html).encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError, AssertionError) as error:
        raise Unextractable(f"not HTML: {error}") from error
    if any(error.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for error in parser.error_log):
        raise Unextractable("elements nested deeper than libxml2's bound of 256, behind which it reads nothing")
    count = sum(1 for _ in tree.iter())
    if count > MOST_ELEMENTS:
        raise Unextractable(f"{count} elements; expected at most {MOST_ELEMENTS}")
    etree.strip_elements(tree, *PRUNED, with_tail=False)
    for code in list(tree.iter("pre")):
        _without_colours(code)
    _without_spans(tree)
    return tree


def _without_spans(tree: Any) -> None:
    """Takes off <span> and <font>, which say nothing about structure and are most of a page; hidden ones stay."""
    from lxml import etree

    spans = [(element, element.tag) for element in tree.iter("span", "font") if _is_hidden(element)]
    for element, _ in spans:
        element.tag = "hidden"
    etree.strip_tags(tree, "span", "font")  # all in one pass: one by one, each costs as much as it has siblings
    for element, tag in spans:
        element.tag = tag


def _is_hidden(element: Any) -> bool:
    return bool(_HIDDEN.search(element.get("style") or "")) or element.get("hidden") is not None


def _without_colours(code: Any) -> None:
    """Code as plain text, with its language kept: highlighters put every word into an element of its own."""
    language = next((e.get("class") for e in code.iter() if re.search("lang|highlight", e.get("class") or "")), None)
    for end in code.iter("br"):
        end.tail = f"\n{end.tail or ''}"
    text, tail = code.text_content(), code.tail
    code.clear()
    code.tail = tail
    inner = code.makeelement("code", {"class": language} if language else {})
    inner.text = text
    code.append(inner)


def by_trafilatura(tree: Any, links: bool) -> str:
    """trafilatura's own extraction, and its comparison with two other algorithms only where that could change it.

    The comparison replaces the text by readability's when that is more than twice as long, when there are no
    paragraphs or more tables than paragraphs, or when the text is short (trafilatura 1.11, external.py). Where all
    of the page but its menus is less than twice as long as the text, the first cannot happen.
    """
    from copy import deepcopy

    _hold_code(tree)
    _hold_line_ends(tree)
    menus = sum(len(e.text_content()) for e in tree.iter(*MENUS) if not any(a.tag in MENUS for a in e.iterancestors()))
    whole = len(_SPACE.sub(" ", tree.text_content())) - menus
    found = _bare(deepcopy(tree), links, fast=True)
    if found is None or _may_be_replaced(found.body, len(found.raw_text), whole):
        found = _bare(tree, links, fast=False)
    return "" if found is None else markdown(found.body)


def _hold_code(tree: Any) -> None:
    """Code as trafilatura leaves it alone; in an item as <code>, for it moves <pre> behind the item's text."""
    for code in list(tree.iter("pre")):
        for inner in code:
            inner.text = held((inner.text or "").strip("\n"))
        if len(code) and any(above.tag in ITEMS for above in code.iterancestors()):
            code.tag, code.text = "code", code[0].text
            code.attrib.update(code[0].attrib)
            del code[0]


def _hold_line_ends(tree: Any) -> None:
    """<br> as text: trafilatura joins marked words that it parts, and has what follows it in a <div> twice."""
    from lxml import etree

    for end in tree.iter("br"):
        end.tail = held("\n") + (end.tail or "")
    etree.strip_tags(tree, "br")


def _may_be_replaced(body: Any, length: int, whole: int) -> bool:
    paragraphs = [p for p in body.iter("p") if "".join(p.itertext()).strip()]
    tables = sum(1 for _ in body.iter("table"))
    return whole > 2 * length or length < 250 or not paragraphs or tables > len(paragraphs)


def _bare(tree: Any, links: bool, fast: bool) -> Any:
    from trafilatura import bare_extraction

    logging.getLogger("trafilatura").setLevel(
        logging.CRITICAL
    )  # "discarding data" is a verdict of ours, not a log line
    return bare_extraction(
        tree, no_fallback=fast, favor_precision=True, include_comments=False, include_tables=True, include_links=links,
        include_formatting=True, as_dict=False,
    )  # fmt: skip


def by_resiliparse(tree: Any, links: bool) -> str:
    """resiliparse's main content; structure that it does not keep is put into the text as Markdown before."""
    from lxml import html as lxml_html
    from resiliparse.extract.html2text import extract_plain_text

    for menu in [element for element in tree.iter("div", "table", "ul") if _is_menu(element)]:
        menu.drop_tree()
    for table in list(tree.iter("table")):
        if table.find(".//table") is None and table.find(".//tr") is not None and len(table.findall(".//td")) > 1:
            _replace_by_code(table, "\n".join(table_rows(table)))
    for element in tree.iter("pre", "code", "h1", "h2", "h3", "h4", "h5", "h6", "a"):
        _mark(element, links)
    _join_words(tree)
    text = extract_plain_text(
        lxml_html.tostring(tree, encoding="unicode"), main_content=True, preserve_formatting=True, links=False
    )
    return _FENCE_IN_ITEM.sub(r"\1\n\2", text.strip())


def _is_menu(element: Any) -> bool:
    return element.get("role") == "navigation" or not NAVIGATION.isdisjoint((element.get("class") or "").split())


def _join_words(tree: Any) -> None:
    """Takes off elements within lines: between two of them resiliparse drops a Chinese word of two characters.

    Links stay outside of paragraphs, as it knows menus by them.
    """
    from lxml import etree

    etree.strip_tags(tree, *INLINE)
    for paragraph in list(tree.iter("p")):
        etree.strip_tags(paragraph, "a")


def _replace_by_code(element: Any, text: str) -> None:
    tail = element.tail
    element.clear()
    element.tag, element.text, element.tail = "pre", text, tail


def _mark(element: Any, links: bool) -> None:
    if element.tag == "pre" and len(element):
        element[0].text = f"```\n{element[0].text or ''}".rstrip() + "\n```"
    elif element.tag == "code" and "\n" not in element.text_content() and element.text_content().strip():
        _wrap(element, "`", "`")
    elif element.tag[0] == "h":
        _wrap(element, "#" * int(element.tag[1]) + " ", "")
    elif element.tag == "a" and links and re.match(r"https?://\S+$", element.get("href") or ""):
        _wrap(element, "[", f"]({element.get('href')})")


def _wrap(element: Any, before: str, after: str) -> None:
    element.text = before + (element.text or "").lstrip()
    if len(element):
        element[-1].tail = (element[-1].tail or "").rstrip() + after
    else:
        element.text = element.text.rstrip() + after


EXTRACTORS: dict[str, Callable[[Any, bool], str]] = {"trafilatura": by_trafilatura, "resiliparse": by_resiliparse}
