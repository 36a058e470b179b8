"""Shards joined into one stream per split."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.tokens.encode import INDEX


def join(parts: list[Path], target: Path, split: str, kind: str, separator: int) -> dict[str, int]:
    """Write `<split>.bin` and `<split>.documents.parquet`; the split's tokens, documents and bytes.

    The stream ends with one more separator, so that the last document's end can be learned, too.
    """
    total, documents, size = 0, 0, 0
    with (
        (target / f"{split}.bin").open("wb") as stream,
        pq.ParquetWriter(target / f"{split}.documents.parquet", INDEX) as index,
    ):
        for part in parts:
            with (part / "tokens.bin").open("rb") as source:
                shutil.copyfileobj(source, stream, 1 << 20)
            table = pq.read_table(part / "documents.parquet")
            shifted = pc.add(table["start"], pa.scalar(total, pa.int64()))
            index.write_table(table.set_column(table.schema.get_field_index("start"), "start", shifted))
            total += pc.sum(table["length"]).as_py() or 0
            size += pc.sum(table["bytes"]).as_py() or 0
            documents += table.num_rows
        np.array([separator], dtype=kind).tofile(stream)
    return {"tokens": total + 1, "documents": documents, "bytes": size}
