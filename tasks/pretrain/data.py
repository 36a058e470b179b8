"""Memory-mapped token streams as batches; which tokens a step sees is a function of the seed and the step alone."""

import itertools
from pathlib import Path

import numpy as np
import torch

from models.lm import IGNORED, Batch
from models.rows import Rows
from tasks.errors import StageError
from tasks.token_meta import tokens_meta


class Stream:
    """One split of a tokens artifact."""

    def __init__(self, artifact: Path, split: str, separator: int) -> None:
        self.meta = tokens_meta(artifact)
        self.tokens = np.memmap(artifact / f"{split}.bin", dtype=self.meta.dtype, mode="r")
        self.index, self.separator = artifact / f"{split}.documents.parquet", separator
        self.seq_len = self.meta.seq_len

    def rows(self, starts: list[int] | np.ndarray, stop: int | None = None) -> Batch:
        """A window of `seq_len` tokens at each start and what follows each token; nothing from `stop` on."""
        stop = len(self.tokens) if stop is None else stop
        ids = np.full((len(starts), self.seq_len + 1), self.separator, dtype=np.int64)
        valid = np.zeros(ids.shape, dtype=bool)
        for row, start in enumerate(starts):
            window = self.tokens[start : min(start + self.seq_len + 1, stop)]
            ids[row, : len(window)], valid[row, : len(window)] = window, True
        inputs, labels = ids[:, :-1], np.where(valid[:, 1:], ids[:, 1:], IGNORED)
        return Batch(*map(torch.from_numpy, (inputs.copy(), positions(inputs, self.separator), labels)))

    def training(
        self, micro_batch: int, accumulation: int, seed: int, tokens: int = 0, ramp: float = 0.0
    ) -> "Shuffled":
        """The stream's windows in a shuffled order, new in each epoch, in steps that amount to `tokens`."""
        windows = (len(self.tokens) - 1) // self.seq_len
        if windows < 1:
            raise StageError(
                f"tokens: {len(self.tokens)} training tokens are fewer than one sequence of {self.seq_len}; "
                "expected more; lower tokens.seq_len or add documents"
            )
        micro_batches = -(-tokens // (micro_batch * self.seq_len))
        return Shuffled(self, windows, micro_batch, steps_of(micro_batches, accumulation, ramp), accumulation, seed)

    def validation(self, limit: int, micro_batch: int) -> tuple[list[Batch], int]:
        """Batches over the first whole documents that hold at most `limit` tokens (at least one), and their bytes."""
        import pyarrow.parquet as pq

        index = pq.read_table(self.index, columns=["start", "length", "bytes"])
        ends = index["start"].to_numpy() + index["length"].to_numpy()
        documents = max(1, int(np.searchsorted(ends, limit, side="right")))
        stop = int(ends[documents - 1]) + 1  # with the separator that ends the last one
        starts = list(range(0, stop - 1, self.seq_len))
        batches = [self.rows(starts[i : i + micro_batch], stop) for i in range(0, len(starts), micro_batch)]
        return batches, int(index["bytes"].to_numpy()[:documents].sum())


class Shuffled:
    """Step -> its micro-batches, over as many epochs as it takes."""

    def __init__(
        self, stream: Stream, windows: int, micro_batch: int, sizes: list[int], accumulation: int, seed: int
    ) -> None:
        self.stream, self.windows, self.seed = stream, windows, seed
        self.micro_batch, self.accumulation = micro_batch, accumulation
        self._firsts = [0, *itertools.accumulate(sizes)]  # each step's first micro-batch
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    @property
    def steps(self) -> int:
        """Optimizer steps that were planned; steps behind them have full batches."""
        return len(self._firsts) - 1

    @property
    def tokens(self) -> int:
        """Tokens in all planned steps."""
        return self._first(self.steps) * self.micro_batch * self.stream.seq_len

    def __call__(self, step: int) -> Rows:
        """The micro-batches of one optimizer step, counted from 0; read when they are asked for."""
        first, last = (self._first(n) * self.micro_batch for n in (step, step + 1))
        return Rows(last - first, self.micro_batch, lambda numbers: self._read(first, numbers))

    def _read(self, first: int, numbers: list[int]) -> Batch:
        return self.stream.rows([self._window(first + number) * self.stream.seq_len for number in numbers])

    def _first(self, step: int) -> int:
        return self._firsts[min(step, self.steps)] + max(0, step - self.steps) * self.accumulation

    def _window(self, number: int) -> int:
        epoch, place = divmod(number, self.windows)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.windows)
        return int(self._order[1][place])


def steps_of(micro_batches: int, accumulation: int, ramp: float) -> list[int]:
    """How many micro-batches each step takes until all are used: the batch grows evenly over the first `ramp` of them.

    Small batches waste little while gradients are still alike (McCandlish et al. 2018; Brown et al. 2020, appendix B).
    """
    sizes: list[int] = []
    used = 0
    while used < micro_batches:
        grown = used / (ramp * micro_batches) if ramp else 1.0
        sizes.append(min(accumulation, 1 + int(grown * accumulation)))
        used += sizes[-1]
    return sizes


def positions(ids: np.ndarray, separator: int) -> np.ndarray:
    """Each token's position in its document, counted from its separator (or from the row's beginning), [B, T]."""
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return places - np.maximum.accumulate(np.where(ids == separator, places, 0), axis=1)
