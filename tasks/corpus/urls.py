"""Block lists of domains and addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit


class BlockList:
    """Domains and addresses from text files: one a line, `#` starts a comment. Case does not count.

    A domain, with a scheme or without, stands for all below it; an address for all that follows it after / ? or &.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.domains: set[str] = set()
        self.places: dict[str, list[str]] = defaultdict(list)  # by host
        lines = {line.partition("#")[0].strip() for f in files for line in f.read_text("utf-8").splitlines()}
        for line in sorted(lines):
            host, place = _parts(line)
            if place == "/":
                self.domains |= {host} - {""}
            else:
                self.places[host].append(place)

    def found(self, url: str) -> str:
        """The domain or address of the list that covers an address, or ""."""
        host, place = _parts(url)
        labels = host.split(".")
        above = (".".join(labels[i:]) for i in range(len(labels)))
        domain = next((name for name in above if name in self.domains), "")
        listed = next((one for one in self.places.get(host, ()) if _begins(place, one)), "")
        return domain or (listed and host + listed)


@lru_cache(maxsize=1)
def block_list(files: tuple[Path, ...]) -> BlockList:
    """The list of these files, which a process reads once: they are a run's own copy, which nobody edits."""
    return BlockList(files)


def _parts(url: str) -> tuple[str, str]:
    """(host as DNS has it, path and query) of an address; ("", "/") of what is none."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host = (parts.hostname or "").strip(".")
    except ValueError:
        return "", "/"
    return _ascii(host), f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}".lower()


def _ascii(host: str) -> str:
    """A host in IDNA's ASCII (RFC 3490), label by label: one that it refuses stays as it is."""
    labels = host.lower().replace("\u3002", ".").split(".")
    return ".".join(label if label.isascii() else _label(label) for label in labels)


def _label(label: str) -> str:
    try:
        return label.encode("idna").decode().lower()
    except UnicodeError:
        return label


def _begins(place: str, listed: str) -> bool:
    rest = place.removeprefix(listed)
    return place.startswith(listed) and (not rest or listed[-1] in "/?&=" or rest[0] in "/?&")
