"""Compaction: many small files of a table become few, with the same rows.

Files that grew large enough stay as they are, so a table is never rewritten whole for the sake of
some new rows. History stays key by key, then run by run, then step by step: `merge.py` puts its
files together. Other tables are laid in the order in which things were created, so that edits of
what is new touch few files; they are sorted, range by range of that order, to stay within memory.
The files that go stay on disk until a vacuum.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
from sqlglot import exp

from wbsync.lake.delta import BATCH_ROWS, READER, SEGMENT_TABLES, TARGET_FILE_BYTES
from wbsync.lake.files import regrouped
from wbsync.lake.merge import MAX_FILES, OutOfOrderError, merge
from wbsync.lake.ranges import CUT_COLUMNS, RUN, SEGMENT_ORDER, ascending, ranges
from wbsync.lake.scan import scan
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from wbsync.lake.delta import DataFile, Lake

SEGMENT_FILE_BYTES = 128 * 1024 * 1024
"""Size of a file of history: large for scans of one key, small enough to be rewritten."""

SMALL = 4
"""Files are small, where nothing else is said, that have less than a quarter of that size."""

RANGE_ROWS = 128 * 1024
RANGE_BYTES = 8 * 1024 * 1024
"""Rows that are sorted at once, about."""

SORTER: dict[str, Any] = {**READER, "memory_limit": "128MB"}
KEYED_TABLES = frozenset({"history", "system_metrics"})
"""Tables that lie key by key."""

BORN, BIRTH = "created_at", "_born"
"""Column with the time at which something was created, and what stands for it where it is not."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did to a table."""

    table: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        return asdict(self)


def target_bytes(table: str) -> int:
    """Returns the size that files of a table should have."""
    return SEGMENT_FILE_BYTES if table in SEGMENT_TABLES else TARGET_FILE_BYTES


def small_files(lake: Lake, table: str, share: int = SMALL) -> list[DataFile]:
    """Returns the files of a table that are smaller than a share of the size they should have."""
    return [f for f in lake.data_files(table) if f.size < target_bytes(table) // share]


def compact(
    lake: Lake,
    table: str,
    spill: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    share: int = SMALL,
) -> Compacted | None:
    """Puts the small files of a table together.

    Args:
        lake: The lake; nobody else may write to it meanwhile.
        table: Table to compact.
        spill: Folder for what does not fit into memory.
        progress: Called with rows written and rows in all.
        share: Files are small that have less than one such part of the size they should have.

    Returns:
        What was done, None where there are not enough small files to become fewer.

    Raises:
        WarehouseError: A file cannot be read, or the disk refused.
    """
    before = lake.data_files(table)
    version = lake.version(table)
    total = sum(f.rows or 0 for f in small_files(lake, table, share))
    done = 0
    while files := _next_files(lake, table, share):

        def counted(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
            nonlocal done
            for rows in tables:
                yield rows
                done += rows.num_rows
                if progress is not None:
                    progress(min(done, total), total)

        _rewrite(lake, table, files, spill, counted)
    if lake.version(table) == version:
        return None
    after = lake.data_files(table)
    sizes = (sum(f.size for f in before), sum(f.size for f in after))
    return Compacted(table, len(before), len(after), *sizes)


def _next_files(lake: Lake, table: str, share: int) -> list[Path]:
    """Returns small files that become fewer when they are put together, none where there are none.

    Of history the smallest are taken first, so many small ones grow in steps.
    """
    small = small_files(lake, table, share)
    if table in KEYED_TABLES:
        small = sorted(small, key=lambda f: f.size)[:MAX_FILES]
    is_worth_it = len(small) > max(1, -(-sum(f.size for f in small) // target_bytes(table)))
    return [f.path for f in small] if is_worth_it else []


def _rewrite(
    lake: Lake,
    table: str,
    files: list[Path],
    spill: Path,
    counted: Callable[[Iterator[pa.Table]], Iterator[pa.Table]],
) -> None:
    """Puts some files of a table together, in one commit."""
    target = target_bytes(table)
    if table in KEYED_TABLES:
        merged = merge(lake.parts(table, files), load_table(table).arrow())
        try:
            lake.rewrite(table, files, counted(merged), target)
        except OutOfOrderError:
            """A project was renamed, or another tool wrote a file: rows are sorted."""
        else:
            return
    with duckdb.connect(config={**SORTER, "temp_directory": str(spill)}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = _ordered(connection, lake, table, files)
        lake.rewrite(table, files, counted(rows), target)


def _ordered(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, files: list[Path]
) -> Iterator[pa.Table]:
    """Yields the rows of some files of a table in the order in which they are to lie."""
    schema = load_table(table)
    rows: exp.Query = scan(schema, lake.parts(table, files))
    if table in KEYED_TABLES:
        order: tuple[str, ...] = SEGMENT_ORDER
    elif any(c.name == BORN for c in schema.columns):
        order = (BORN, *schema.primary_key)
    else:
        rows = _with_birth(lake, table, rows)
        order = (BIRTH, *schema.primary_key)
    cut_by = (order[:-1] or order)[:CUT_COLUMNS]
    for condition, values in ranges(connection, rows, cut_by, _range_rows(files)):
        query = exp.select(*(exp.column(c.name, quoted=True) for c in schema.columns))
        query = query.from_(rows.subquery("held")).where(condition)
        query = query.order_by(*map(ascending, order))
        relation = connection.sql(query.sql("duckdb"), params=values or None)
        yield from regrouped(relation.to_arrow_reader(BATCH_ROWS), schema.arrow())


def _range_rows(files: list[Path]) -> int:
    """Returns how many rows of some files may be sorted at once."""
    groups = [m.row_group(i) for m in map(pq.read_metadata, files) for i in range(m.num_row_groups)]
    size: int = sum(group.total_byte_size for group in groups)
    rows: int = sum(group.num_rows for group in groups)
    return max(1, min(RANGE_ROWS, RANGE_BYTES * rows // max(size, 1)))


def _with_birth(lake: Lake, table: str, rows: exp.Query) -> exp.Select:
    """Returns rows with the time at which what they speak of was created.

    What belongs to a run is as old as the run, whose age only the table runs tells; where nothing
    tells, the time of the sync stands for it.
    """
    query = exp.select(exp.column(exp.Star(), "held")).from_(rows.subquery("held"))
    if not set(RUN) <= set(load_table(table).primary_key):
        return query.select(exp.alias_(exp.column("synced_at", "held"), BIRTH))
    runs = scan(load_table("runs"), lake.parts("runs"), [*RUN, BORN])
    same = exp.and_(*(exp.column(c, "held").eq(exp.column(c, "run")) for c in RUN))
    query = query.join(runs.subquery("run"), on=same, join_type="left")
    return query.select(exp.alias_(exp.column(BORN, "run"), BIRTH))
