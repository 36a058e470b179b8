"""The data archive inside a Debian package: an `ar` file whose member `data.tar.*` is the tar (deb(5))."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tasks.sources.unpack import unpacked

HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
LARGEST = 8 << 30  # bytes of data.tar as it is read here


@contextmanager
def data_of_deb(path: Path) -> Iterator[BinaryIO | None]:
    """A stream over data.tar (still gz, bz2 or xz; zst is unpacked), or None when there is none.

    Raises:
        OSError, EOFError: the zst is damaged, breaks off, or unpacks to far more than it is or to more than LARGEST.
    """
    with path.open("rb") as package, tempfile.TemporaryFile() as data:
        found = _copy_data(package, data)
        data.seek(0)
        yield data if found else None


def _copy_data(package: BinaryIO, data: BinaryIO) -> bool:
    package.seek(len(b"!<arch>\n"))
    while len(header := package.read(HEADER)) == HEADER:
        name, digits = header[:16].decode("ascii", "replace").strip(" /"), header[48:58].strip()
        if not digits.isdigit():
            return False
        if name.startswith("data.tar"):
            _copy(_Slice(package, int(digits)), data, name if name.endswith(".zst") else "")
            return True
        package.seek(int(digits) + int(digits) % 2, 1)
    return False


def _copy(member: _Slice, data: BinaryIO, packed: str) -> None:
    stream = unpacked(packed, member)  # type: ignore[arg-type]
    while block := stream.read(1 << 20):
        data.write(block)
        if data.tell() > LARGEST:
            raise OSError(f"data.tar unpacks to more than {LARGEST} bytes")


class _Slice:
    """The next `size` bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.left = stream, size

    def read(self, n: int) -> bytes:
        block = self.stream.read(min(n, self.left))
        self.left -= len(block)
        return block
