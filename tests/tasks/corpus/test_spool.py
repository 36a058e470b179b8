"""How the input is shared out among workers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tasks.corpus.spool import items_of, spool
from tasks.sources import open_source

SHARD = 64_000


@pytest.mark.parametrize("name", ["big.jsonl", "big.jsonl.gz"])
@pytest.mark.parametrize(("records", "size"), [(700, SHARD), (1300, SHARD), (2900, SHARD), (15_000, SHARD // 4)])
def test_one_big_file_is_shards_of_even_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int, size: int, name: str
) -> None:
    monkeypatch.setattr("tasks.corpus.cut.SHARD", size)
    data = b"".join(json.dumps({"text": f"{i} " * (20 + i % 50)}).encode() + b"\n" for i in range(records))
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    source = open_source(path)
    shards = spool([source], tmp_path / "spool")
    sizes = [sum(piece.bytes for piece in shard) for shard in shards]
    assert len(shards) % 4 == 0 and sum(sizes) == len(data)
    assert max(sizes) < 1.1 * size and min(sizes) > 0.8 * max(sizes)
    pieces = [piece for shard in shards for piece in shard]
    read = [one for piece in pieces for one in items_of(piece, tmp_path / "spool", source.parts["all"])]
    assert [one.offset for one in read] == list(range(records))


def test_little_input_is_one_shard(tmp_path: Path) -> None:
    (tmp_path / "small.jsonl").write_text('{"text": "one"}\n' * 5000)
    assert len(spool([open_source(tmp_path / "small.jsonl")], tmp_path / "spool")) == 1
