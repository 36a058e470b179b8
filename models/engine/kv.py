"""The key/value cache: one tensor per layer and kind, each row of it a slot that holds one sequence."""

import numpy as np


class KVCache:
    """Keys and values of `slots` sequences, `[slots, kv_heads, length, head_dim]` for each name.

    A graph reads and writes a row in place, so the tensors are allocated once and live as long as the engine. Sequences
    that run together must lie side by side; `move` closes the hole that a finished one leaves.
    """

    def __init__(self, names: list[str], slots: int, heads: int, length: int, head_dim: int, dtype: np.dtype):
        self.slots, self.length = slots, length
        self.tensors = {name: np.zeros((slots, heads, length, head_dim), dtype) for name in names}

    def rows(self, name: str, first: int, count: int) -> np.ndarray:
        """Slots `first` to `first + count` of one tensor, contiguous, sharing its memory."""
        return self.tensors[name][first : first + count]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot over another."""
        for tensor in self.tensors.values():
            tensor[target, :, :length] = tensor[source, :, :length]

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())
