"""Rows of Parquet files, one by one where one of them cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 1024  # rows that are in memory at once, at most
BATCH_BYTES = 16 << 20  # of them, about, unpacked
Found = tuple[int, dict[str, Any] | ValueError]


def rows(file: Any, groups: range | None = None, columns: Collection[str] = ()) -> Iterator[Found]:
    """(index, row or why it cannot be read) of each row of some row groups (default: all).

    file: a path or a binary stream. columns: those that are read, where they are there; none named = all.
    The index counts from the first of the groups. Of a damaged row group one error tells how many rows it cost.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        yield 0, ValueError(f"invalid Parquet: {error}")
        return
    chosen = [name for name in table.schema_arrow.names if name in columns] if columns else None
    start = 0
    for group in range(table.num_row_groups) if groups is None else groups:
        yield from _group(table, group, start, chosen)
        start += table.metadata.row_group(group).num_rows


def _group(table: pq.ParquetFile, group: int, start: int, columns: list[str] | None) -> Iterator[Found]:
    import pyarrow as pa

    index, stop = start, start + table.metadata.row_group(group).num_rows
    try:
        for batch in table.iter_batches(_rows_at_once(table, group, columns), row_groups=[group], columns=columns):
            yield from ((index + i, row) for i, row in enumerate(_rows(batch)))
            index += len(batch)
    except (pa.ArrowException, OSError) as error:
        yield index, ValueError(f"invalid Parquet, {stop - index} rows from here: {error}")


def _rows_at_once(table: pq.ParquetFile, group: int, columns: list[str] | None) -> int:
    about = table.metadata.row_group(group)
    chunks = [about.column(i) for i in range(about.num_columns)]
    read = [one for one in chunks if columns is None or one.path_in_schema.partition(".")[0] in columns]
    size = sum(one.total_uncompressed_size for one in read)
    return max(1, min(BATCH, BATCH_BYTES * about.num_rows // max(1, size)))


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | ValueError]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # bytes that are not UTF-8, a date that Python cannot hold
        yield from map(_row, (batch.slice(i, 1) for i in range(len(batch))))


def _row(batch: pa.RecordBatch) -> dict[str, Any] | ValueError:
    try:
        return batch.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return ValueError(f"a value that cannot be read: {error}")
