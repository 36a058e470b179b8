"""Markdown as the plain text that the web-text rules were made for: no marks, addresses, code; a line per block.

Their thresholds were set on text that trafilatura took from pages without any markup (Penedo et al. 2024, section 3.3).
Measured as it stands, one table of a manual has more bars and addresses than words, and its page would be dropped.
"""

from __future__ import annotations

import re

from tasks.corpus.fences import split

_LINK = re.compile(r"!?\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]\((?:[^()\n]|\([^()\n]*\))*\)")
_BARE_ADDRESS = re.compile(r"<?https?://[^\s<>）)]+>?")
_RULER = re.compile(r"^[ |:-]*\|[ |:-]*$", re.MULTILINE)
_BAR = re.compile(r"(?<!\\)\|")
_LINE_MARKS = re.compile(r"^ *(?:#{1,6} +|(?:> ?)+)", re.MULTILINE)
_INLINE_MARKS = re.compile(r"\*\*|``?|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>])")
_SPACES = re.compile(r"[ \t]+")
_BLANK = re.compile(r"\s*\n\s*")


def plain(markdown: str) -> str:
    """What a reader sees of Markdown, without its code blocks; bullets stay, as a rule counts them."""
    text = "".join(prose for prose, _ in split(markdown))
    text = _LINK.sub(r"\1", text)
    text = _BARE_ADDRESS.sub("", text)
    text = _BAR.sub(" ", _RULER.sub("", text))
    text = _INLINE_MARKS.sub("", _LINE_MARKS.sub("", text))
    return _BLANK.sub("\n", _SPACES.sub(" ", _ESCAPED.sub(r"\1", text))).strip()
