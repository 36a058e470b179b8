"""From a token of a stream back to the document it came from."""

from dataclasses import dataclass
from pathlib import Path

from tasks.errors import StageError


@dataclass(frozen=True)
class Origin:
    """Where a token comes from: the document, and how many tokens into it (0 is its leading separator)."""

    document: str
    offset: int


def trace(artifact: Path, split: str, token: int) -> Origin:
    """The origin of token number `token`, counted from 0, of a tokens artifact's split.

    Raises:
        StageError: no such split, or no such token in it.
    """
    import pyarrow.parquet as pq

    path = artifact / f"{split}.documents.parquet"
    if not path.exists():
        raise StageError(f"trace: {artifact.name} has no split {split!r}; expected train or validation")
    index = pq.read_table(path, columns=["id", "start", "length"])
    starts = index["start"].to_numpy()
    row = int(starts.searchsorted(token, side="right")) - 1
    end = int(starts[-1]) + index["length"][-1].as_py() if index.num_rows else 0
    if row < 0 or token >= end:
        raise StageError(f"trace: {split} has no token {token} that belongs to a document; expected 0 to {end - 1}")
    return Origin(index["id"][row].as_py(), token - int(starts[row]))
