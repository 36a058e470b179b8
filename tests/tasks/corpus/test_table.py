"""A judged shard is written as its documents come: however large it is, little of it is held."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from tasks.corpus.table import read_bands, read_judged, write_judged

TEXTS, SIZE = 60, 1 << 20


def rows() -> Iterator[dict[str, object]]:
    for number in range(TEXTS):
        yield {"id": f"a#{number}", "text": f"{number:06d}" * (SIZE // 6), "key": f"key {number}", "shingling": ""}


def test_a_shard_of_any_size_is_written_in_little_memory(tmp_path: Path) -> None:
    write_judged(tmp_path, 0, [next(rows())], ())  # what the libraries hold
    tracemalloc.start()
    write_judged(tmp_path, 1, rows(), ())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < TEXTS * SIZE / 3
    assert read_judged(tmp_path, 1, ["id", "text"]).to_pylist() == [
        {"id": row["id"], "text": row["text"]} for row in rows()
    ]
    assert read_bands(tmp_path, 1).shape[1] == TEXTS


def test_a_shard_without_documents_is_one_too(tmp_path: Path) -> None:
    write_judged(tmp_path, 0, iter(()), ())
    assert len(read_judged(tmp_path, 0)) == read_bands(tmp_path, 0).shape[1] == 0
