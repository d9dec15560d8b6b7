"""Writes the Parquet files of a Delta table, and describes them for its log.

pyarrow writes dictionary columns as they are, delta-rs would first spell them out: measured on
history, 12 M values/s against 3.4, in 6 bytes a value against 10. Encodings are those that every
engine reads (docs/decisions/0003).
"""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from wbsync.lake.disk import persist

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ROW_GROUP_ROWS = 128 * 1024
"""A scan of one key reads the row groups that hold it: larger ones hold more of others, too."""

ROW_GROUP_BYTES = 48 * 1024 * 1024
"""Rows that take more than this in memory make a row group, however few they are."""

MAX_STATISTIC = 64
"""Longer texts are left out of the log's statistics, rather than cut."""


def write_files(
    folder: Path, schema: pa.Schema, tables: Iterable[pa.Table], target_bytes: int | None
) -> Iterator[AddAction]:
    """Writes rows to new files of a table's folder, and yields what the log must say of each.

    Files that no commit names are not part of the table: a kill leaves nothing but them.

    Args:
        folder: The table's folder.
        schema: The table's schema; columns may come dictionary-encoded.
        tables: Rows, in the order in which they are to lie.
        target_bytes: Size at which a next file is begun; None for one file.

    Raises:
        pa.ArrowInvalid: A NULL where none may be.
        OSError: The disk refused.
    """
    writer: _Writer | None = None
    try:
        for table in tables:
            for start in range(0, table.num_rows, ROW_GROUP_ROWS):
                if writer is None:
                    writer = _Writer(folder, schema, table)
                writer.write(table.slice(start, ROW_GROUP_ROWS))
                if target_bytes is not None and writer.size >= target_bytes:
                    finished, writer = writer, None
                    yield finished.close()
        if writer is not None:
            finished, writer = writer, None
            yield finished.close()
    finally:
        if writer is not None:
            writer.abandon()


def regrouped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yields small batches as tables large enough for a row group, in a table's schema."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(held).cast(schema)
            held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held).cast(schema)


class _Writer:
    """One Parquet file in the making."""

    def __init__(self, folder: Path, schema: pa.Schema, example: pa.Table) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"part-{uuid.uuid4()}.zstd.parquet"
        self._schema = pa.schema(
            [f.with_type(c.type) for f, c in zip(schema, example.columns, strict=True)]
        )
        steps = [f.name for f in schema if f.type == pa.int64() and f.name == "step"]
        doubles = [f.name for f in schema if f.type == pa.float64()]
        # Logged numbers hardly repeat, so that a dictionary of them costs more than it saves; times
        # do, once a key.
        measured = [name for name in doubles if name == "value" and steps]
        # Parquet's bounds leave NaN out, and DuckDB 2.0 believes them: `isnan(value)` finds nothing
        # and `value < 1` finds NaN. Times are never NaN.
        may_be_nan = {*doubles} - {"timestamp"}
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            compression_level=1,
            store_schema=False,
            write_statistics=[f.name for f in schema if f.name not in may_be_nan],
            use_dictionary=[f.name for f in schema if f.name not in {*steps, *measured}],
            column_encoding=dict.fromkeys(steps, "DELTA_BINARY_PACKED")
            | dict.fromkeys(measured, "PLAIN"),
        )

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return int(self._sink.tell())

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(
            pa.Table.from_arrays(rows.columns, schema=self._schema), row_group_size=ROW_GROUP_ROWS
        )

    def close(self) -> AddAction:
        self._writer.close()
        self._sink.close()
        persist(self._path)
        return AddAction(
            path=self._path.name,
            size=self._path.stat().st_size,
            partition_values={},
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=_statistics(pq.read_metadata(self._path)),
        )

    def abandon(self) -> None:
        self._sink.close()
        self._path.unlink(missing_ok=True)


def _statistics(metadata: pq.FileMetaData) -> str:
    """Returns Delta's statistics of a file: rows, NULLs, and bounds of texts and whole numbers."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    unbounded: set[str] = set()
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            name, held = column.path_in_schema, column.statistics
            if held is None or not held.has_null_count:
                unbounded.add(name)
                nulls[name] = -1
                continue
            if nulls.get(name) != -1:
                nulls[name] = nulls.get(name, 0) + held.null_count
            if held.null_count == column.num_values:
                continue
            bounds = (held.min, held.max) if held.has_min_max else ()
            if not bounds or not all(_is_plain(b) for b in bounds):
                unbounded.add(name)
                continue
            low[name] = min(low.get(name, bounds[0]), bounds[0])
            high[name] = max(high.get(name, bounds[1]), bounds[1])
    return json.dumps(
        {
            "numRecords": metadata.num_rows,
            "minValues": {n: v for n, v in low.items() if n not in unbounded},
            "maxValues": {n: v for n, v in high.items() if n not in unbounded},
            "nullCount": {n: count for n, count in nulls.items() if count >= 0},
        }
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_STATISTIC
    return isinstance(value, int) and not isinstance(value, bool)
