"""Addresses without what is secret in them."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^\s/]+@")
_END = r"""[:;.,)\]]*(?:[\s#"']|$)"""  # of a url within a sentence or a list
_QUERY = re.compile(rf"""(\w://[^\s?#"']+)\?[^\s#"']*?(?={_END})""")


def without_secrets(text: str) -> str:
    """The text with user, password and query taken out of every url in it (RFC 3986, 3.2.1 and 3.4).

    For whatever is shown or kept; a fetch needs the whole url.
    """
    return _QUERY.sub(r"\1", _USER.sub("", text))
