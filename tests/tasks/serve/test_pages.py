import mmap
import re
from pathlib import Path

import pytest

from tasks.serve.pages import LARGE, collapse


def large_kib() -> int:
    return sum(map(int, re.findall(r"AnonHugePages:\s+(\d+)", Path("/proc/self/smaps").read_text())))


def test_memory_in_small_pages_is_gathered_in_large_ones_and_keeps_its_contents():
    memory = mmap.mmap(-1, 8 * LARGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    text = bytes(range(256)) * (len(memory) // 256)
    memory[:] = text
    memory.madvise(mmap.MADV_HUGEPAGE)  # from now on, as it may be by default
    before = large_kib()
    if not collapse():
        pytest.skip("this system does not gather pages")
    assert large_kib() - before >= 7 * LARGE // 1024  # one may hang over at both ends
    assert memory[:] == text
