"""Markdown from an element tree, HTML's or trafilatura's (TEI): headings, lists, tables, code and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "head"}
BOLD, ITALIC = {"b", "strong"}, {"i", "em"}
BLOCKS = HEADINGS | {"p", "list", "ul", "ol", "item", "li", "table", "quote", "blockquote", "pre", "body", "div", "dl"}
_SPACE = re.compile(r"\s+")
_LISTS = {"list", "ul", "ol", "dl"}
# Noncharacters, which no page holds, in the place of a code's white space: trafilatura makes every run of it one space
_HELD = {ord("\n"): 0xFDD0, ord(" "): 0xFDD1, ord("\t"): 0xFDD2}
_GIVEN_BACK = {mark: chr(space) for space, mark in _HELD.items()}
_LINE_END = chr(_HELD[ord("\n")])
_MARKS = re.compile("`{3,}")
_CELL_BAR = re.compile(r"(?<!\\)\|")


def markdown(element: Any) -> str:
    """The text of an lxml element with its structure as CommonMark and GitHub tables; blocks a blank line apart."""
    return as_written("\n\n".join(block for block in _blocks(element) if block.strip()))


def held(code: str) -> str:
    """Code whose white space stands what extractors do to text."""
    return code.translate(_HELD)


def as_written(text: str) -> str:
    """A text with the white space that `held` put away."""
    return text.translate(_GIVEN_BACK)


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
        yield _fenced(element)
    elif tag in _LISTS:
        yield "\n".join(_items(element, ""))
    elif tag == "table":
        yield "\n".join(table_rows(element))
    elif tag in {"quote", "blockquote"} and not _is_all_code(element):
        yield "\n".join(f"> {line}".rstrip() for line in markdown(element).split("\n"))
    elif tag == "p" and not any(map(_is_block, element)):
        yield "\n".join(_line([line]) for line in _text_kept(element).split("\n")).strip()
    else:
        yield from _blocks(element)


def _is_block(element: Any) -> bool:
    return element.tag in BLOCKS or _is_code(element)


def _is_code(element: Any) -> bool:
    """Whether it is a block of code: <pre>, or trafilatura's <code> that holds lines."""
    return element.tag == "pre" or (element.tag == "code" and "\n" in _code(element).strip())


def _is_all_code(element: Any) -> bool:
    """Whether a quotation is nothing but code, as trafilatura makes of <pre>."""
    loose = [element.text, *(child.tail for child in element)]
    return all(map(_is_code, element)) and not "".join(filter(None, loose)).strip()


def _code(element: Any) -> str:
    return as_written("".join(element.itertext()))


def _fenced(element: Any) -> str:
    code = _code(element).strip("\n")
    fence = "`" * max(3, 1 + max(map(len, _MARKS.findall(code)), default=0))
    return f"{fence}{_language(element)}\n{code}\n{fence}"


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
        mark = f"{number}. " if ordered else "- "
        yield from _item(item, indent, "  " if (item.get("rend") or item.tag).startswith("dd") else mark)


def _item(item: Any, indent: str, mark: str) -> Iterator[str]:
    """The lines of an item: its text behind the mark; code and lists in it, and what follows them, below that."""
    head, inner = indent + mark, indent + " " * len(mark)
    for piece in _pieces(item):
        if isinstance(piece, str):
            yield head + piece
        elif piece.tag in _LISTS:
            yield from _items(piece, inner)
        else:
            if head != inner:
                yield head.rstrip()
            yield from (f"{inner}{line}".rstrip() for line in _fenced(piece).split("\n"))
        head = inner


def _pieces(element: Any) -> Iterator[Any]:
    """Code and lists in an element, and the text before, between and after them, a line each."""
    loose = [_flat(element.text)]
    for child in element:
        apart = _is_code(child) or child.tag in _LISTS
        if apart or (_is_block(child) and any(_is_code(one) or one.tag in _LISTS for one in child.iter())):
            yield from filter(None, [_line(loose)])
            yield from [child] if apart else _pieces(child)
            loose = [_flat(child.tail)]
        else:
            loose += [_inline(child), _flat(child.tail)]
    yield from filter(None, [_line(loose)])


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


def _text(element: Any) -> str:
    """One line: an element's inline content."""
    return _line([_text_kept(element)])


def _line(parts: list[str]) -> str:
    return _SPACE.sub(" ", "".join(parts)).strip()


def _inline(element: Any) -> str:
    tag = element.tag
    if not isinstance(tag, str):  # a comment or an instruction
        return ""
    if tag in {"br", "lb"}:
        return "\n"
    if tag == "code":
        text = _flat(_code(element))
        return f"`{text}`" if text.strip() else text
    text = _text_kept(element)
    if not text.strip():
        return text
    if tag in {"a", "ref"}:
        target = element.get("href") or element.get("target") or ""
        return f"[{_line([text])}]({target})" if re.match(r"https?://\S+$", target) else text
    weight = element.get("rend") or ""
    if tag in BOLD or (tag == "hi" and weight == "#b"):
        return _around(text, "**")
    if tag in ITALIC or (tag == "hi" and weight == "#i"):
        return _around(text, "*")
    return text if not _is_block(element) else f" {text} "


def _text_kept(element: Any) -> str:
    return _flat(element.text) + "".join(_inline(child) + _flat(child.tail) for child in element)


def _around(text: str, mark: str) -> str:
    """What stands on each line between marks, as Markdown has none that go on behind a blank line."""
    pairs = ((line, line.strip()) for line in text.split("\n"))
    return "\n".join(line.replace(inner, f"{mark}{inner}{mark}", 1) if inner else line for line, inner in pairs)


def _flat(text: str | None) -> str:
    """A text with its white space as single spaces; a line end that was `held` is one again."""
    return _SPACE.sub(" ", text).replace(_LINE_END, "\n") if text else ""
