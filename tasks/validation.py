"""Validation documents as windows of tokens, the text on which models are compared.

Models learn every document from its leading separator on and never look across documents, so each is scored alone: its
tokens and the separator that ends it. A document longer than the window is cut, each further window beginning with
`context` tokens that were scored already.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import StageError
from tasks.token_meta import tokens_meta

LOGITS = 1 << 26  # held at once at most, a quarter of a gigabyte


@dataclass(frozen=True)
class Window:
    """`tokens` [T]; of the targets `tokens[1:]` those from index `first` on are scored."""

    tokens: np.ndarray
    first: int


@dataclass(frozen=True)
class ValidationText:
    """Windows that cover whole documents of `bytes` UTF-8 bytes together."""

    windows: list[Window]
    documents: int
    bytes: int

    @property
    def scored(self) -> int:
        """Targets that are scored."""
        return sum(len(window.tokens) - 1 - window.first for window in self.windows)


def validation_text(artifact: Path, tokens: int, window: int, context: int) -> ValidationText:
    """About `tokens` tokens of a tokens artifact's validation split, documents taken evenly from all of it.

    Raises:
        StageError: the split is empty, or `context` leaves a window nothing to score.
    """
    import pyarrow.parquet as pq

    if context >= window:
        raise StageError(f"context: {context} is not less than window {window}; expected at most {window - 1}")
    stream = np.memmap(artifact / "validation.bin", dtype=tokens_meta(artifact).dtype, mode="r")
    index = pq.read_table(artifact / "validation.documents.parquet", columns=["start", "length", "bytes"])
    starts, lengths, sizes = (index[name].to_numpy() for name in ("start", "length", "bytes"))
    if not len(starts):
        raise StageError("tokens: the validation split has no documents; enlarge it in the corpus")
    chosen = _evenly(lengths, tokens)
    windows = []
    for start, length in zip(starts[chosen], lengths[chosen], strict=True):
        document = stream[start : start + length + 1].astype(np.int64)  # with the next separator
        windows += cut(document, window, context)
    return ValidationText(windows, len(chosen), int(sizes[chosen].sum()))


def cut(document: np.ndarray, window: int, context: int) -> list[Window]:
    """Windows of at most `window` tokens in which every token after the first is scored exactly once."""
    windows = [Window(document[:window], 0)]
    for start in range(window - context, len(document) - context, window - context):
        windows.append(Window(document[start : start + window], context - 1))
    return windows


def rows_at_once(windows: list[Window], vocab_size: int, most: int) -> int:
    """How many windows a model may read together: at most `most`, fewer where their logits would fill the memory."""
    longest = max(len(window.tokens) for window in windows)
    return max(1, min(most, LOGITS // (longest * vocab_size)))


def batches(windows: list[Window], rows: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(inputs [B, T], targets [B, T], scored [B, T]) of windows of like length, padded with 0 on the right."""
    ordered = sorted(windows, key=lambda window: len(window.tokens))
    for begin in range(0, len(ordered), rows):
        batch = ordered[begin : begin + rows]
        width = len(batch[-1].tokens)
        tokens = np.zeros((len(batch), width), np.int64)
        scored = np.zeros((len(batch), width - 1), bool)
        for row, window in enumerate(batch):
            tokens[row, : len(window.tokens)] = window.tokens
            scored[row, window.first : len(window.tokens) - 1] = True
        yield tokens[:, :-1], tokens[:, 1:], scored


def _evenly(lengths: np.ndarray, tokens: int) -> np.ndarray:
    """Indices of documents, evenly spread, that hold about `tokens` tokens together (at least one document)."""
    count = max(1, min(len(lengths), round(len(lengths) * tokens / max(1, int(lengths.sum())))))
    return np.linspace(0, len(lengths) - 1, count).round().astype(np.int64)
