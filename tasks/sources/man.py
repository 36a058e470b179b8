"""Manual pages: roff with the man and mdoc macros (man(7), mdoc(7)) becomes Markdown."""

from __future__ import annotations

import re

_NAMED = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "em": "—", "en": "–", "hy": "-", "bu": "•",
    "co": "©", "rs": "\\", "ti": "~", "ha": "^", "ga": "`", "mu": "×", "->": "→", "<-": "←", ">=": "≥", "<=": "≤",
    "+-": "±", "Fo": "«", "Fc": "»", "de": "°", "tm": "™", "rg": "®", "sc": "§", "..": "…",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:f(?:\[\w*\]|\(\w\w|.)|s[-+]?\d{1,2}|\[([^\]]*)\]|\((..)|\*(?:\[[^\]]*\]|\(..|.)|n[-+]?(?:\[[^\]]*\]|\(..|.)"
    r"|[hvwlLDoxXNbAZRCYV]'[^']*'|m\[[^\]]*\]|[&%|^/,:cdtupr{}!a]|(.))"
)
_FONT = {"B", "I", "BI", "BR", "IB", "IR", "RB", "RI", "SM", "SB", "Nm", "Fl", "Ar", "Ic", "Cm", "Pa", "Xr", "Li", "Va",
         "Em", "Sy", "Ev", "Fn", "Ft", "Fa", "Ql", "Dq", "Sq", "Op", "Oo", "Oc", "Ns", "Ad", "Er", "Dv", "Tn", "Aq",
         "Bq", "No", "Ux", "Fx", "Nx", "Bx", "St", "An", "Lk", "Mt", "Dl", "Pf", "Brq", "Ap", "UR", "MT"}  # fmt: skip
_JOINED = {"BR", "IB", "IR", "RB", "RI", "BI"}
_PARAGRAPH = {"PP", "LP", "P", "Pp", "sp", "HP", "br", "RS", "RE", "Sp", "Lp"}
_ITEM, _HEADING = {"TP", "IP", "It", "TQ"}, {"SH", "Sh", "SS", "Ss"}
_CODE, _CODE_END = {"nf", "EX", "Vb", "Bd", "CS"}, {"fi", "EE", "Ve", "Ed", "CE"}
_CHINESE = "[\u3000-\u9fff\uff00-\uffef]"
_WORD = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')


def markdown(source: str) -> dict[str, str]:
    """title (NAME(SECTION)) and text of a manual page.

    Raises:
        ValueError: it has no title macro (.TH, .Dt): not a manual page.
    """
    page = _Page()
    for line in _lines(source):
        page.line(line)
    if not page.title:
        raise ValueError("no .TH or .Dt macro: not a manual page")
    return {"title": page.title, "text": page.text()}


class _Page:
    """Collects blocks while lines of roff go by."""

    def __init__(self) -> None:
        self.title, self.blocks, self.words, self.code, self.item = "", [], [], None, ""

    def line(self, line: str) -> None:
        found = re.match(r"[.'][ \t]*([A-Za-z]+)\s*(.*)", line)
        if not found:
            self.plain(line)
            return
        macro, rest = found.groups()
        if macro in {"TH", "Dt"}:
            name = [*arguments(rest), "", ""]
            self.title = f"{name[0]}({name[1]})" if name[1] else name[0]
        elif macro in _HEADING:
            self.end_block()
            self.blocks.append(("# " if macro in {"SH", "Sh"} else "## ") + shown(" ".join(arguments(rest))))
        elif macro in _CODE:
            self.end_block()
            self.code = []
        elif macro in _CODE_END:
            self.end_block()
        elif macro in _ITEM:
            self.start_item(macro, rest)
        elif macro in _PARAGRAPH:
            self.plain("") if self.code is not None else self.end_block()
        elif macro == "Nd":
            self.plain("- " + rest)
        elif macro in _FONT:
            self.plain(("" if macro in _JOINED else " ").join(arguments(rest)))

    def start_item(self, macro: str, rest: str) -> None:
        self.end_block()
        self.item = "?" if macro in {"TP", "TQ"} else f"- {shown(' '.join(arguments(rest)[:1]))}".rstrip() + " "

    def plain(self, line: str) -> None:
        if self.code is not None:
            self.code.append(shown(line))
        elif not line.strip():
            self.end_block()
        elif self.item == "?":  # the line after .TP is the item's tag
            self.item = f"- {shown(line).strip()} "
        else:
            self.words.append(shown(line).strip())

    def end_block(self) -> None:
        if self.code is not None and any(map(str.strip, self.code)):
            self.blocks.append("\n".join(["```", *"\n".join(self.code).strip("\n").split("\n"), "```"]))
        text = _joined(self.words)
        item = "" if self.item == "?" else self.item
        if text or item.strip(" -"):
            self.blocks.append((item + ("— " if item.strip(" -•") and text else "") + text).strip())
        self.words, self.code, self.item = [], None, ""

    def text(self) -> str:
        self.end_block()
        return "\n\n".join(self.blocks)


def arguments(rest: str) -> list[str]:
    """A macro's arguments: separated by spaces, quoted by `"`."""
    rest = re.sub(r'\\".*', "", rest)
    return [(a.replace('""', '"') if b == "" else b) for a, b in _WORD.findall(rest)]


def shown(text: str) -> str:
    """A line without its escapes; comments go."""
    return _ESCAPE.sub(_character, re.sub(r'\\".*', "", text))


def _character(found: re.Match[str]) -> str:
    named = found[1] or found[2]
    if named:
        point = re.fullmatch(r"u([0-9A-Fa-f]{4,6})", named)
        return chr(int(point[1], 16)) if point and int(point[1], 16) < 0x110000 else _NAMED.get(named, "")
    one = found[3]
    return {None: "", "-": "-", "e": "\\", "~": " ", " ": " ", "0": " ", "'": "'", "`": "`"}.get(one, one or "")


def _lines(source: str) -> list[str]:
    """Lines without comments, definitions and conditions, which only format."""
    kept, depth, inside = [], 0, False
    for line in source.splitlines():
        if inside:
            inside = not re.match(r"\.\.\s*$", line)
        elif depth or re.match(r"[.'][ \t]*(if|ie|el)\b", line):
            depth = max(0, depth + line.count("\\{") - line.count("\\}"))
        elif re.match(r"[.'][ \t]*(de|de1|am|ig)\b", line):
            inside = True
        elif not re.match(r"[.'][ \t]*\\[\"#]|[.'][ \t]*$", line):
            kept.append(line.removesuffix("\\"))
    return kept


def _joined(words: list[str]) -> str:
    """Lines of one paragraph; no space between Chinese characters."""
    text = re.sub(r"[ \t]+", " ", " ".join(filter(None, words)))
    return re.sub(f"(?<={_CHINESE}) (?={_CHINESE})", "", text)
