"""Several conversations in one row: packed side by side, with attention and loss kept apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.lm import IGNORED, Batch


@dataclass(frozen=True)
class Example:
    """Token ids, and for each whether it is to be learned."""

    ids: Sequence[int]
    learned: Sequence[bool]


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Put items into rows of at most `room`, first fit in the given order; item numbers per row.

    Raises:
        ValueError: an item is longer than a row.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    opened = 0  # rows before this one are as good as full
    for item, length in enumerate(lengths):
        if length > room:
            raise ValueError(f"item {item} has {length} tokens, a row only {room}")
        row = next((r for r in range(opened, len(rows)) if free[r] >= length), None)
        if row is None:
            rows.append([])
            free.append(room)
            row = len(rows) - 1
        rows[row].append(item)
        free[row] -= length
        opened = max(opened, len(rows) - 64)
    return rows


def packed_batch(rows: Sequence[Sequence[Example]], length: int, pad: int) -> Batch:
    """Rows of examples as a batch of `length` columns; padding is one more document that bears no loss."""
    inputs = torch.full((len(rows), length), pad)
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED)
    for number, row in enumerate(rows):
        start = 0
        for example in row:
            count = len(example.ids)
            ids = torch.tensor(example.ids)
            learned = torch.tensor(example.learned)
            inputs[number, start : start + count] = ids
            positions[number, start : start + count] = torch.arange(count)
            labels[number, start : start + count - 1] = torch.where(learned[1:], ids[1:], IGNORED)
            start += count
        positions[number, start:] = torch.arange(length - start)
    return Batch(inputs, positions, labels)
