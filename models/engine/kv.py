"""The key/value cache: one tensor per layer and kind, each row of it a slot that holds one sequence."""

import mmap

import numpy as np


class KVCache:
    """Keys and values of `slots` sequences, `[slots, kv_heads, length, head_dim]` for each name.

    A graph reads and writes a row in place, so the tensors lie in one mapping as long as the engine lives. Memory is
    taken when a position is first written; `trim` gives back what a long sequence took.
    """

    def __init__(self, names: list[str], slots: int, heads: int, length: int, head_dim: int, dtype: np.dtype):
        self.slots, self.length = slots, length
        shape = (len(names), slots, heads, length, head_dim)
        self._memory = mmap.mmap(
            -1, int(np.prod(shape)) * np.dtype(dtype).itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        self._memory.madvise(mmap.MADV_HUGEPAGE)  # attention strides through all of it
        self.values = np.frombuffer(self._memory, dtype).reshape(shape)
        self.tensors = dict(zip(names, self.values, strict=True))

    def rows(self, name: str, first: int, count: int) -> np.ndarray:
        """Slots `first` to `first + count` of one tensor, contiguous, sharing its memory."""
        return self.tensors[name][first : first + count]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot over another."""
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def read(self, slot: int, start: int, end: int) -> np.ndarray:
        """A copy of positions `start` to `end` of a slot, [tensors, kv_heads, positions, head_dim]."""
        return self.values[:, slot, :, start:end].copy()

    def write(self, slot: int, start: int, block: np.ndarray) -> None:
        """Put what `read` returned at `start` of a slot."""
        self.values[:, slot, :, start : start + block.shape[2]] = block

    def trim(self, slot: int, start: int, end: int) -> None:
        """Give the memory of positions `start` to `end` of a slot back to the system; they read as zeros."""
        base = self.values.ctypes.data
        for head in (head for tensor in self.values for head in tensor[slot]):  # [length, head_dim]
            first = -(-(head[start:].ctypes.data - base) // mmap.PAGESIZE) * mmap.PAGESIZE
            last = (head[:end].ctypes.data - base + head[:end].nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if last > first:
                self._memory.madvise(mmap.MADV_DONTNEED, first, last - first)

    @property
    def position_bytes(self) -> int:
        """Bytes of one position of one sequence."""
        return self.values[:, 0, :, 0].nbytes
