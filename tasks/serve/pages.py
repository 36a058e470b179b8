"""The model's memory in large pages: a step of the engine walks through all weights, 512 times as many small ones."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MADV_COLLAPSE = 25  # madvise(2), Linux 6.1; Python's mmap has no name for it, and advises maps of its own only

Span = tuple[int, int]  # addresses of the first byte and of that behind the last


@contextmanager
def large_pages() -> Iterator[None]:
    """Gather in large pages what this process has allocated within, and what of it is in use at the end.

    Addresses and contents stay as they are, and so does everything where the system has no such pages or shall use
    none, is older, or has no memory in one piece: that is only slower.
    """
    if not SETTING.exists() or "[never]" in SETTING.read_text():
        yield
        return
    before = _own_spans()
    yield
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for start, end in _beyond(before, _own_spans()):
        madvise(start, end - start, MADV_COLLAPSE)


def _own_spans() -> list[Span]:
    """What the process may write and shares with no file, in the order of addresses."""
    spans = []
    for line in Path("/proc/self/maps").read_bytes().split(b"\n")[:-1]:
        span, access, _offset, _device, inode, *name = line.split(maxsplit=5)
        if access == b"rw-p" and inode == b"0" and name in ([], [b"[heap]"]):
            start, end = (int(address, 16) for address in span.split(b"-"))
            spans.append((start, end))
    return spans


def _beyond(known: list[Span], spans: list[Span]) -> Iterator[Span]:
    """The parts of spans that are in no known one."""
    for start, end in spans:
        for first, last in known:
            if first < end and start < last:
                if start < first:
                    yield start, first
                start = last
        if start < end:
            yield start, end
