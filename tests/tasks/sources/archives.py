"""Small archives of every kind, good and bad, made for the tests."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
from pathlib import Path

GOOD = {"data/a.jsonl": b'{"text": "one"}\n{"text": "two"}\n', "data/sub/b.jsonl": b'{"text": "three"}\n'}


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def make_deb(path: Path, members: dict[str, bytes]) -> Path:
    inner = make_tar(path.with_suffix(".tar"), {f"./{name}": data for name, data in members.items()}, "w:")
    data = inner.read_bytes()
    inner.unlink()
    return write_deb(path, "data.tar.xz", lzma.compress(data))


def write_deb(path: Path, name: str, data: bytes) -> Path:
    """A package around a data archive that is given."""
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"xz!", name: data}
    path.write_bytes(b"!<arch>\n" + b"".join(_ar_member(one, held) for one, held in parts.items()))
    return path


def _ar_member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


MAKERS = {"x.zip": make_zip, "x.tgz": make_tar, "x.tar.gz": make_tar, "x.deb": make_deb, "folder": make_folder}
