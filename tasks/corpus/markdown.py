"""Markdown from an element tree, HTML's or trafilatura's (TEI): headings, lists, tables, code and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "head"}
BOLD, ITALIC = {"b", "strong"}, {"i", "em"}
BLOCKS = HEADINGS | {"p", "list", "ul", "ol", "item", "li", "table", "quote", "blockquote", "pre", "body", "div", "dl"}
_SPACE = re.compile(r"\s+")
_CELL_BAR = re.compile(r"(?<!\\)\|")


def markdown(element: Any) -> str:
    """The text of an lxml element with its structure as CommonMark and GitHub tables; blocks a blank line apart."""
    return "\n\n".join(block for block in _blocks(element) if block.strip())


def _blocks(element: Any) -> Iterator[str]:
    """The blocks inside an element; text that stands between blocks is a block."""
    loose = [_flat(element.text)]
    for child in element:
        if _is_block(child):
            yield "".join(loose).strip()
            yield from _block(child)
            loose = [_flat(child.tail)]
        else:
            loose += [_inline(child), _flat(child.tail)]
    yield "".join(loose).strip()


def _block(element: Any) -> Iterator[str]:
    tag = element.tag
    if tag in HEADINGS:
        level = int((element.get("rend") or tag)[-1:]) if (element.get("rend") or tag)[-1:].isdigit() else 2
        text = _text(element)
        yield f"{'#' * level} {text}" if text else ""
    elif _is_code(element):
        yield "\n".join([f"```{_language(element)}", "".join(element.itertext()).strip("\n"), "```"])
    elif tag in {"list", "ul", "ol", "dl"}:
        yield "\n".join(_items(element, ""))
    elif tag == "table":
        yield "\n".join(table_rows(element))
    elif tag in {"quote", "blockquote"}:
        yield "\n".join(f"> {line}".rstrip() for line in markdown(element).split("\n"))
    elif tag == "p" and not any(map(_is_block, element)):
        yield _text(element)
    else:
        yield from _blocks(element)


def _is_block(element: Any) -> bool:
    return element.tag in BLOCKS or _is_code(element)


def _is_code(element: Any) -> bool:
    """Whether it is a block of code: <pre>, or trafilatura's <code> that holds lines."""
    return element.tag == "pre" or (element.tag == "code" and "\n" in "".join(element.itertext()).strip())


def _language(element: Any) -> str:
    for inner in element.iter():
        found = re.search(r"(?:language|lang|highlight|brush)[-:\s]+([\w+#-]+)", inner.get("class") or "")
        if found:
            return found[1] if found[1] != "default" else ""
    return ""


def _items(element: Any, indent: str) -> Iterator[str]:
    ordered = element.tag == "ol" or element.get("rend") == "ol"
    number = 0
    for item in element:
        if item.tag not in {"item", "li", "dt", "dd"}:
            continue
        number += 1
        mark = f"{number}." if ordered else "-"
        inner = [child for child in item if child.tag in {"list", "ul", "ol"}]
        text = _text(item, without=inner)
        if (item.get("rend") or item.tag).startswith("dd"):
            yield f"{indent}  {text}"
        elif text:
            yield f"{indent}{mark} {text}"
        for one in inner:
            yield from _items(one, indent + " " * (len(mark) + 1))


def table_rows(element: Any) -> Iterator[str]:
    """The lines of a GitHub table; the first row is its head."""
    rows = [
        [_CELL_BAR.sub(r"\\|", _text(cell)) for cell in row if cell.tag in {"cell", "td", "th"}]
        for row in element.iter("row", "tr")
    ]
    rows = [row for row in rows if any(row)]
    width = max(map(len, rows), default=0)
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row + [''] * (width - len(row)))} |"
        if number == 0:
            yield f"|{' --- |' * width}"


def _text(element: Any, without: list[Any] | None = None) -> str:
    """One line: an element's inline content."""
    parts = [_flat(element.text)]
    for child in element:
        skipped = without and any(child is one for one in without)
        parts += ["" if skipped else _inline(child), _flat(child.tail)]
    return _SPACE.sub(" ", "".join(parts)).strip()


def _inline(element: Any) -> str:
    tag = element.tag
    if not isinstance(tag, str):  # a comment or an instruction
        return ""
    if tag in {"br", "lb"}:
        return "\n" if _is_block(element.getparent()) else " "
    if tag == "code":
        text = _flat("".join(element.itertext()))
        return f"`{text}`" if text.strip() else text
    text = _text_kept(element)
    if not text.strip():
        return text
    if tag in {"a", "ref"}:
        target = element.get("href") or element.get("target") or ""
        return f"[{text.strip()}]({target})" if re.match(r"https?://\S+$", target) else text
    weight = element.get("rend") or ""
    if tag in BOLD or (tag == "hi" and weight == "#b"):
        return _around(text, "**")
    if tag in ITALIC or (tag == "hi" and weight == "#i"):
        return _around(text, "*")
    return text if not _is_block(element) else f" {text} "


def _text_kept(element: Any) -> str:
    return _flat(element.text) + "".join(_inline(child) + _flat(child.tail) for child in element)


def _around(text: str, mark: str) -> str:
    inner = text.strip()
    return text.replace(inner, f"{mark}{inner}{mark}", 1)


def _flat(text: str | None) -> str:
    return _SPACE.sub(" ", text) if text else ""
