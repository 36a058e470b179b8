"""Memory-mapped token streams as batches; which tokens a step sees is a function of the seed and the step alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.lm import IGNORED, Batch
from tasks.errors import StageError


class Stream:
    """One split of a tokens artifact."""

    def __init__(self, artifact: Path, split: str, separator: int) -> None:
        self.meta: dict[str, Any] = json.loads((artifact / "meta.json").read_text(encoding="utf-8"))
        self.tokens = np.memmap(artifact / f"{split}.bin", dtype=self.meta["dtype"], mode="r")
        self.index, self.separator = artifact / f"{split}.documents.parquet", separator
        self.seq_len: int = self.meta["seq_len"]

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

    def training(self, micro_batch: int, accumulation: int, seed: int) -> "Shuffled":
        """The stream's windows in a shuffled order, new in each epoch."""
        windows = (len(self.tokens) - 1) // self.seq_len
        if windows < 1:
            raise StageError(
                f"tokens: {len(self.tokens)} training tokens are fewer than one sequence of {self.seq_len}; "
                "expected more; lower tokens.seq_len or add documents"
            )
        return Shuffled(self, windows, micro_batch, accumulation, seed)

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

    def __init__(self, stream: Stream, windows: int, micro_batch: int, accumulation: int, seed: int) -> None:
        self.stream, self.windows, self.seed = stream, windows, seed
        self.micro_batch, self.accumulation = micro_batch, accumulation
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __call__(self, step: int) -> list[Batch]:
        """The micro-batches of one optimizer step, counted from 0."""
        size = self.micro_batch * self.accumulation
        starts = [self._window(number) * self.stream.seq_len for number in range(step * size, (step + 1) * size)]
        return [self.stream.rows(starts[i : i + self.micro_batch]) for i in range(0, size, self.micro_batch)]

    def _window(self, number: int) -> int:
        epoch, place = divmod(number, self.windows)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.windows)
        return int(self._order[1][place])


def positions(ids: np.ndarray, separator: int) -> np.ndarray:
    """Each token's position in its document, counted from its separator (or from the row's beginning), [B, T]."""
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return places - np.maximum.accumulate(np.where(ids == separator, places, 0), axis=1)
