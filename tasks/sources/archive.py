"""Walk an archive in place: zip, wheel, tar (gz, bz2, xz), deb, a folder or a single file. Nothing is unpacked to disk.

One primitive: `walk(path, wanted)` yields an `Entry` per wanted member, in the archive's order, and a `Bad` for each
one that must not or cannot be read. An entry is readable until the next one is asked for.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from tasks.sources.deb import data_of_deb
from tasks.sources.unpack import RATIO, SLACK

LARGEST_MEMBER = 8 << 30  # bytes
CORRUPT = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError,
    UnicodeDecodeError,  # a zip's name that says it is UTF-8, and is not
)  # fmt: skip
_UNDECODED = re.compile("[\udc80-\udcff]")  # what a name has for each byte that is not UTF-8 (PEP 383)


class Bad(NamedTuple):
    """A member or record set aside: where it is and why. The offset is its index, or a byte where there is none."""

    member: str
    offset: int
    reason: str
    byte: int | None = None  # of the member as unpacked, at which the record starts


@dataclass(frozen=True)
class Entry:
    name: str
    size: int  # bytes
    open: Callable[[], BinaryIO]

    def read(self) -> bytes | Bad:
        try:
            with self.open() as stream:
                data = stream.read(self.size + 1)
        except CORRUPT as error:
            return Bad(self.name, 0, f"corrupt member: {error or type(error).__name__}")
        short = len(data) != self.size
        return Bad(self.name, len(data), f"corrupt member: {len(data)} of {self.size} bytes") if short else data


Walk = Iterator[Entry | Bad]


def walk(path: Path, wanted: Callable[[str], bool]) -> Walk:
    """Entries of the file or folder at `path` whose name is wanted; a plain file is one member, `content.SUFFIXES`."""
    if path.is_dir():
        return _folder(path, wanted)
    if zipfile.is_zipfile(path):
        return _zip(path, wanted)
    with path.open("rb") as stream:
        if stream.read(8) == b"!<arch>\n":
            return _deb(path, wanted)
    named = re.search(r"\.(tar(\.\w+)?|tgz|tbz2|txz|crate)$", path.name)
    return _tar(path, wanted) if named or _opens_as_tar(path) else _single(path, wanted)


def matcher(globs: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a member name fits one of the globs: `*` and `?` stay within a folder, `**` crosses folders."""
    part = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    patterns = [
        "".join(part.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", glob))
        for glob in globs
    ]
    return re.compile("|".join(patterns) or r"(?!)", re.DOTALL).fullmatch  # type: ignore[return-value]


def single_name(path: Path) -> str:
    """The member name of a plain file: its suffixes without its name, which bears no identity."""
    return "content" + "".join(s for s in path.suffixes[-2:] if re.fullmatch(r"\.[A-Za-z]\w{0,8}", s))


def _zip(path: Path, wanted: Callable[[str], bool]) -> Walk:
    try:
        archive = zipfile.ZipFile(path)
    except CORRUPT as error:
        yield Bad(path.name, 0, f"corrupt archive: {error}")
        return
    with archive:
        for info in archive.infolist():
            name = info.orig_filename
            if info.is_dir() or not wanted(name):
                continue
            if info.flag_bits & 0x1:
                yield Bad(name, info.header_offset, "encrypted member")
            else:
                why = _refusal(name, info.file_size, info.compress_size)
                open_it = lambda info=info: archive.open(info)  # noqa: E731
                yield Bad(name, info.header_offset, why) if why else Entry(name, info.file_size, open_it)


def _tar(source: Path | BinaryIO, wanted: Callable[[str], bool]) -> Walk:
    packed = _size(source)
    with _reporting(source) as (archive, failure):
        while archive and (info := _next(archive, failure)):
            name = _readable(info.name.removeprefix("./"))
            if info.isdir() or not wanted(name):
                continue
            why = "" if info.isreg() else "not a regular file (a link or a device)"
            why = why or _refusal(name, info.offset_data + info.size, packed, info.size)
            open_it = lambda info=info: archive.extractfile(info)  # noqa: E731
            yield Bad(name, info.offset, why) if why else Entry(name, info.size, open_it)
    yield from failure


def _size(source: Path | BinaryIO) -> int:
    if isinstance(source, Path):
        return source.stat().st_size
    size = source.seek(0, io.SEEK_END)
    source.seek(0)  # before tarfile reads: it would go on from here
    return size


@contextmanager
def _reporting(source: Path | BinaryIO) -> Iterator[tuple[tarfile.TarFile | None, list[Bad]]]:
    failure: list[Bad] = []
    try:
        archive = tarfile.open(source) if isinstance(source, Path) else tarfile.open(fileobj=source)  # noqa: SIM115
    except CORRUPT as error:
        failure.append(Bad("", 0, f"corrupt archive: {error or type(error).__name__}"))
        yield None, failure
        return
    with archive:
        yield archive, failure


def _next(archive: tarfile.TarFile, failure: list[Bad]) -> tarfile.TarInfo | None:
    """The next header. tarfile takes a broken one for the end, so look whether zero blocks really end it."""
    try:
        info = archive.next()
        if info is None and archive.fileobj is not None:
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(512).strip(b"\0"):
                failure.append(Bad("", archive.offset, "corrupt archive: not a tar header"))
            elif archive.fileobj.tell() == archive.offset:
                failure.append(Bad("", archive.offset, "truncated archive: no end marker"))
    except CORRUPT as error:
        failure.append(Bad("", archive.offset, f"truncated or corrupt archive: {error or type(error).__name__}"))
        return None
    return info


def _deb(path: Path, wanted: Callable[[str], bool]) -> Walk:
    try:
        with data_of_deb(path) as data:
            if data is None:
                yield Bad(path.name, 0, "corrupt archive: a deb without data.tar")
            else:
                yield from _tar(data, wanted)
    except CORRUPT as error:
        yield Bad(path.name, 0, f"corrupt archive: {error or type(error).__name__}")


def _folder(path: Path, wanted: Callable[[str], bool]) -> Walk:
    for file in sorted(path.rglob("*"), key=lambda f: f.relative_to(path).as_posix()):
        name = _readable(file.relative_to(path).as_posix())
        if file.is_dir() or not wanted(name):
            continue
        if file.is_symlink():
            yield Bad(name, 0, "not a regular file (a link)")
        else:
            yield Entry(name, file.stat().st_size, lambda file=file: file.open("rb"))


def _single(path: Path, wanted: Callable[[str], bool]) -> Walk:
    name = single_name(path)
    if wanted(name):
        yield Entry(name, path.stat().st_size, lambda: path.open("rb"))


def _opens_as_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except CORRUPT:
        return False


def _readable(name: str) -> str:
    """A name that can be written: a byte that is not UTF-8 as %XX."""
    return _UNDECODED.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)


def _refusal(name: str, unpacked: int, packed: int, size: int = 0) -> str:
    pure = PurePosixPath(name)
    if (
        not pure.parts
        or pure.is_absolute()
        or ".." in pure.parts
        or "\\" in name
        or "\0" in name
        or ":" in pure.parts[0]
    ):
        return "unsafe path"
    if (size or unpacked) > LARGEST_MEMBER:
        return f"larger than {LARGEST_MEMBER} bytes"
    if unpacked > RATIO * packed + SLACK:
        return f"unpacks to more than {RATIO} times its size: a bomb"
    return ""
