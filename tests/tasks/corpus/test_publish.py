"""The files of a split: none grows without bound, and no document is lost or moved."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus.publish import SplitWriter


@pytest.mark.parametrize(("rows", "characters", "files"), [(4, 10**6, 5), (100, 40, 4), (100, 10**6, 1)])
def test_a_file_ends_with_enough_rows_or_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, characters: int, files: int
) -> None:
    monkeypatch.setattr("tasks.corpus.publish.ROWS_PER_FILE", rows)
    monkeypatch.setattr("tasks.corpus.publish.CHARACTERS_PER_FILE", characters)
    writer = SplitWriter(tmp_path / "train")
    for shard in range(6):
        ids = [f"{shard}-{i}" for i in range(4)]
        split = ["train", "", "validation", "train"] if shard % 2 else ["train"] * 4
        content = {"id": ids, "text": ["二十字" * 4 + i for i in ids], "source": ids, "metadata": ids, "split": split}
        writer.write(pa.table(content))
    writer.close()
    written = sorted((tmp_path / "train").glob("*.parquet"))
    kept = [f"{s}-{i}" for s in range(6) for i in range(4) if not (s % 2 and i in (1, 2))]
    assert [name for file in written for name in pq.read_table(file)["id"].to_pylist()] == kept
    assert writer.documents == len(kept)
    assert len(written) == files
