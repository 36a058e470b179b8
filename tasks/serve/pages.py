"""The model's memory in large pages: a step of the engine walks through all weights, 512 times as many small ones."""

import ctypes
import logging
from pathlib import Path

log = logging.getLogger("fullchain.serve")

MAPS = Path("/proc/self/maps")
LARGE = 2 << 20  # bytes of a large page where the tables of pages have 4 KiB ones: on x86, and on most of arm64
MADV_COLLAPSE = 25  # madvise(2), Linux 6.1; Python's mmap has no name for it, and hints at maps of its own only


def collapse() -> int:
    """Gather what this process has in memory of its own into large pages; returns how many there are now.

    Addresses and contents stay as they are, and so does everything where the system knows no such pages, is older, or
    has no memory in one piece: that is only slower.
    """
    if not MAPS.exists():
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    count = 0
    for line in MAPS.read_text().splitlines():
        span, access, _offset, _device, inode, *name = line.split()
        if access != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue  # a file, a stack, or shared with others
        start, end = (int(address, 16) for address in span.split("-"))
        pages = range(-(-start // LARGE) * LARGE, end // LARGE * LARGE, LARGE)
        count += sum(madvise(page, LARGE, MADV_COLLAPSE) == 0 for page in pages)
    log.debug("%d large pages", count)
    return count
