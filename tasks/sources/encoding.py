"""Which encoding bytes are in: what is certain first, then what the sender says, then what they look like."""

from __future__ import annotations

import codecs
import re

MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SEEN = 1024  # bytes of a page in which it may name its encoding (HTML standard, 13.2.3.2)
_META = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{0,100}?encoding=["']([\w.:-]+)""", re.IGNORECASE
)
# Codecs that read all that browsers read under their labels (WHATWG Encoding Standard, 4.2 and 10-13)
WIDER = {
    "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-11": "cp874",
}  # fmt: skip


def decode(data: bytes, declared: str = "") -> str:
    """A page or text as characters: by its byte order mark, as UTF-8, as declared by its sender or in it, as detected.

    Valid UTF-8 comes before what is declared: no other encoding's text is valid UTF-8 by chance, and labels lie.

    Raises:
        ValueError: no encoding fits; told with the first byte that is not UTF-8.
    """
    for mark, name in MARKS:
        if data.startswith(mark):
            return data.decode(name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        found = _META.search(data[:SEEN])
        named = (found[1] or found[2]).decode("ascii") if found else ""
        for codec in (_codec(declared), _codec(named), _detected(data)):
            text = _as(data, codec)
            if text is not None:
                return text
        raise ValueError(f"not UTF-8 at byte {error.start}, nor any other encoding") from None


def _codec(label: str) -> str:
    """Python's name for a label of the Encoding Standard, or "": `unicode_escape` and its like are no encodings."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    return map_encoding_to_html5(label.strip(), fallback_utf8=False) or ""


def _as(data: bytes, codec: str) -> str | None:
    try:
        text = data.decode(WIDER.get(codec, codec)) if codec else None
    except (LookupError, ValueError):  # a codec that Python lacks, or bytes that are not in it
        return None
    return None if text is None or "\0" in text else text


def _detected(data: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    return detect_encoding(data) or ""
