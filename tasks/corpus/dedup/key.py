"""What of a text counts when texts are compared."""

from __future__ import annotations

import re

from tasks.verse import HAN

_NOT_WORD = re.compile(rf"[^{HAN}\w ][^{HAN}\w]*| [^{HAN}\w]+|_+")  # but for a single space, which stays


def key_of(text: str) -> str:
    """A text's letters, digits and Chinese characters, in lower case, with single spaces where anything else stood."""
    return _NOT_WORD.sub(" ", text.lower()).strip()
