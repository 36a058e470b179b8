"""Digests of files and folders, and writes that are whole or not there at all."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and file digests; remembered while size and time stay."""
    if path.is_file():
        return _remembered(path, path.stat().st_size, path.stat().st_mtime_ns)
    total = hashlib.sha256()
    for file in files_below(path):
        info = file.stat()
        total.update(
            f"{file.relative_to(path).as_posix()}\0{_remembered(file, info.st_size, info.st_mtime_ns)}\n".encode()
        )
    return total.hexdigest()


def files_below(path: Path) -> list[Path]:
    """Every file below a folder, in the order of its relative name. Links are not followed.

    Raises OSError for a folder in it that cannot be listed.
    """
    there = (Path(folder, name) for folder, _, names in os.walk(path, onerror=_end) for name in names)
    files = (file for file in there if file.is_file() and not file.is_symlink())
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def _end(error: OSError) -> None:
    raise error


def local_path(uri: str) -> Path | None:
    """The path on this machine that a uri names; None when it names something elsewhere."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in {"", "file"} else None


def mark_used(path: Path) -> bool:
    """Note by its time that a folder is in use; whether that could be: it may be another's, read-only, or gone."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def write_whole(path: Path, text: str) -> None:
    """Write a text so that a reader, also after a kill, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


@lru_cache(maxsize=65_536)
def _remembered(path: Path, _size: int, _mtime_ns: int) -> str:
    return file_digest(path)
