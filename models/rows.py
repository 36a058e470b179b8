"""A step's rows, and which of them are read: each rank of a mesh reads its own alone."""

from collections.abc import Callable, Iterable, Sequence

import torch

from models.lm import IGNORED, Batch


class Rows(Sequence[Batch]):
    """The micro-batches of a step, of `size` rows each, the last of what is left; a row is read when it is asked for.

    `read` gives the rows of the numbers that it gets, counted from 0 over the step.
    """

    def __init__(self, count: int, size: int, read: Callable[[list[int]], Batch]) -> None:
        self.count, self.size, self.read = count, size, read

    @classmethod
    def of(cls, micro_batches: Sequence[Batch]) -> "Rows":
        """Of micro-batches that are there already."""
        if isinstance(micro_batches, cls):
            return micro_batches
        joined = Batch(*(torch.cat(tensors) for tensors in zip(*micro_batches, strict=True)))
        return cls(
            len(joined.input_ids),
            len(micro_batches[0].input_ids),
            lambda numbers: Batch(*(tensor[numbers] for tensor in joined)),
        )

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.read(list(range(number * self.size, min((number + 1) * self.size, self.count))))

    def padded(self, numbers: Iterable[int]) -> Batch:
        """Rows of any numbers; those behind the step's last row are like it, without labels."""
        wanted = list(numbers)
        batch = self.read([min(number, self.count - 1) for number in wanted])
        blank = torch.tensor([number >= self.count for number in wanted])
        return batch._replace(labels=batch.labels.masked_fill(blank[:, None], IGNORED))
