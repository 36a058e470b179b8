"""What of a text counts when texts are compared."""

from __future__ import annotations


def key_of(text: str) -> str:
    """A text's letters, digits and Chinese characters, in lower case, with single spaces where anything else stood."""
    from tasks.corpus.native import as_text, code_points
    from tasks.corpus.native.keys import kinds, words_only

    return as_text(words_only(code_points(text.lower()), kinds())).strip()
