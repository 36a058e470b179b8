import mmap
import platform
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.serve.pages import SETTING, _beyond, large_pages

LARGE = 2 << 20
SYSTEM = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))


def large_kib() -> int:
    return sum(map(int, re.findall(r"AnonHugePages:\s+(\d+)", Path("/proc/self/smaps").read_text())))


@pytest.mark.skipif(
    platform.machine() != "x86_64" or SYSTEM < (6, 1) or not SETTING.exists() or "[never]" in SETTING.read_text(),
    reason="this system gathers no pages",
)
def test_memory_allocated_within_is_gathered_in_large_pages_and_keeps_its_contents():
    text = bytes(range(256)) * (8 * LARGE // 256)
    before = large_kib()
    with large_pages():
        memory = mmap.mmap(-1, len(text), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        memory[:] = text
        memory.madvise(mmap.MADV_HUGEPAGE)  # from now on, as it may be by default
    assert large_kib() - before >= LARGE // 1024  # at most 8; fewer where no memory is in one piece
    assert memory[:] == text


SPANS = st.lists(st.integers(0, 60), unique=True, max_size=12).map(
    lambda cuts: list(zip(sorted(cuts)[::2], sorted(cuts)[1::2], strict=False))
)


@given(SPANS, SPANS)
def test_what_is_beyond_is_in_no_known_span(known, spans):
    def inside(parts):
        return {address for start, end in parts for address in range(start, end)}

    assert inside(_beyond(known, spans)) == inside(spans) - inside(known)
