"""Bring a pinned source to this machine: once, verified by its sha256, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tasks.errors import StageError
from tasks.files import file_digest
from tasks.redact import without_secrets
from tasks.sources.resolvers import RESOLVERS, Unfetched

ATTEMPTS = 3
BACKOFF = 2.0  # seconds before the second attempt; doubled for each further one

Resolver = Callable[[str, Path], Path]


def fetch(name: str, uri: str, sha256: str, downloads: Path, backoff: float = BACKOFF) -> Path:
    """The file of a source, from the downloads folder or else from its registry, hub or site.

    The file is kept as `downloads/SHA256/FILENAME`. A file that a person put directly into `downloads`, under any name,
    is taken when its bytes are the right ones. Every use verifies the sha256.

    Raises:
        StageError: nothing could be fetched (what was tried, and how to supply the file by hand), or other bytes came.
    """
    return _kept(downloads, sha256) or _supplied(downloads, sha256) or _fetched(name, uri, sha256, downloads, backoff)


def _kept(downloads: Path, sha256: str) -> Path | None:
    folder = downloads / sha256
    for file in sorted(folder.glob("*")) if folder.is_dir() else []:
        if file_digest(file) == sha256:
            return file
        file.unlink()  # damaged on this disk: fetch it anew
    return None


def _supplied(downloads: Path, sha256: str) -> Path | None:
    files = (f for f in sorted(downloads.glob("*")) if f.is_file() and not f.name.startswith("."))
    found = next((f for f in files if file_digest(f) == sha256), None)
    return _keep(found, sha256, downloads) if found else None


def _fetched(name: str, uri: str, sha256: str, downloads: Path, backoff: float) -> Path:
    scheme, _, rest = uri.partition(":")
    resolver = RESOLVERS.get(scheme)
    shown = without_secrets(uri)
    if resolver is None:
        raise StageError(
            f"source {name}: unknown scheme in {shown!r}; expected one of {', '.join(RESOLVERS)} or a path"
        )
    downloads.mkdir(parents=True, exist_ok=True)
    tried = []
    for attempt in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=downloads) as folder:
            try:
                file = resolver(rest, Path(folder))
            except Unfetched as error:
                tried.append(str(error))
                if not error.worth_a_retry or attempt == ATTEMPTS - 1:
                    break
                time.sleep(backoff * 2**attempt)
                continue
            got = file_digest(file)
            if got == sha256:
                return _keep(file, sha256, downloads)
            raise StageError(
                f"source {name}: {shown} brought {file.name} with sha256 {got}, expected {sha256}; "
                f"the source has changed or was tampered with; {by_hand(sha256, downloads)}"
            )
    raise StageError(
        f"source {name}: {shown} could not be fetched in {len(tried)} attempt(s); the last said: {tried[-1]}\n"
        f"Check the network and the client's settings, or {by_hand(sha256, downloads)}"
    )


def by_hand(sha256: str, downloads: Path) -> str:
    """What a person does who has the file already."""
    return f"put a file with sha256 {sha256} (any name) into {downloads.resolve()} and run again"


def _keep(file: Path, sha256: str, downloads: Path) -> Path:
    kept = downloads / sha256 / file.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink():
        temporary = kept.with_name(f".{kept.name}.tmp")
        shutil.copyfile(file, temporary)
        return temporary.replace(kept)
    return file.replace(kept)
