"""Block lists of domains and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit


class BlockList:
    """Domains and address prefixes from text files: one a line, `#` starts a comment. A domain stands for all below."""

    def __init__(self, files: Sequence[Path]) -> None:
        lines = {line.partition("#")[0].strip().lower() for f in files for line in f.read_text("utf-8").splitlines()}
        self.domains = frozenset(line.strip(".") for line in lines if line and "/" not in line)
        addresses = (line.partition("://")[2] or line for line in lines if "/" in line)
        self.prefixes = tuple(sorted(addresses))

    def found(self, url: str) -> str:
        """The domain or prefix of the list that covers an address, or ""."""
        try:
            parts = urlsplit(url if "//" in url else f"//{url}")
            host = (parts.hostname or "").rstrip(".").encode("idna").decode() if parts.hostname else ""
        except (ValueError, UnicodeError):
            return ""
        labels = host.lower().split(".")
        above = (".".join(labels[i:]) for i in range(len(labels)))
        domain = next((name for name in above if name in self.domains), "")
        plain = f"{host}{parts.path}".lower()
        return domain or next((prefix for prefix in self.prefixes if plain.startswith(prefix)), "")
