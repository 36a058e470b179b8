"""Packed members (.gz, .bz2, .xz, .zst, .zip of one file), opened as a stream that refuses to be a bomb."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO

RATIO, SLACK = 200, 64 << 20  # unpacked bytes per packed byte, beyond a first 64 MiB, that make a bomb
BLOCK = 4 << 10  # packed bytes given to zstd at once: unpacks to at most some hundred megabytes
DAMAGE = (zlib.error, lzma.LZMAError, EOFError, OSError)


class Bomb(OSError):
    """A stream that unpacks to far more than it is."""


def plain_name(member: str) -> str:
    """A member's name without the suffix of its packing: `a.jsonl.gz` -> `a.jsonl`."""
    stem, dot, suffix = member.rpartition(".")
    return stem if dot + suffix in UNPACK else member


def unpacked(member: str, stream: BinaryIO) -> BinaryIO:
    """The member's content as a stream; as it is when its name has no packing suffix.

    Reading raises one of DAMAGE where the content is damaged or breaks off, and `Bomb` beyond the bound.
    """
    opener = UNPACK.get("." + member.rpartition(".")[2])
    if opener is None:
        return stream
    packed = _Counted(stream)
    return io.BufferedReader(_Bounded(opener(packed), packed), 1 << 16)


class _Counted(io.RawIOBase):
    """A stream that knows how much was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.count = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self.stream.read(len(buffer))
        buffer[: len(block)] = block
        self.count += len(block)
        return len(block)


class _Bounded(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader, packed: _Counted) -> None:
        self.stream, self.packed, self.count = stream, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self.stream.read1(len(buffer))  # what is there: `read` loses it when what follows is damaged
        self.count += len(block)
        if self.count > RATIO * self.packed.count + SLACK:
            raise Bomb(f"unpacks to more than {RATIO} times its size: a bomb")
        buffer[: len(block)] = block
        return len(block)


class _Zstd(io.RawIOBase):
    """Zstandard frames, one after the other; unlike the library's own stream it tells when the last breaks off."""

    def __init__(self, packed: BinaryIO) -> None:
        self.packed, self.frame, self.left, self.waiting = packed, None, b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self.waiting and self._more():
            pass
        block, self.waiting = self.waiting[: len(buffer)], self.waiting[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)

    def _more(self) -> bool:
        import zstandard

        block = self.left or self.packed.read(BLOCK)
        self.left = b""
        if not block:
            if self.frame is not None:
                raise EOFError("the last zstd frame breaks off")
            return False
        self.frame = self.frame or zstandard.ZstdDecompressor().decompressobj()
        try:
            self.waiting = memoryview(self.frame.decompress(block))  # sliced without copies
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        if self.frame.eof:
            self.left, self.frame = self.frame.unused_data, None
        return True


def _only_file(packed: BinaryIO) -> BinaryIO:
    """What a zip holds, where that is one file."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(packed.read()))
        (name,) = archive.namelist()
        return archive.open(name)  # type: ignore[return-value]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
        raise OSError(f"not a zip of one plain file: {error}") from error


UNPACK: dict[str, Callable[[BinaryIO], io.BufferedReader]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),  # type: ignore[dict-item]
    ".bz2": bz2.BZ2File,  # type: ignore[dict-item]
    ".xz": lzma.LZMAFile,  # type: ignore[dict-item]
    ".zip": _only_file,  # type: ignore[dict-item]
    ".zst": lambda stream: io.BufferedReader(_Zstd(stream)),
}
