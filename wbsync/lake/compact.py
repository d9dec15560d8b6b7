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
from wbsync.lake.scan import scan
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.lake.delta import Lake
    from wbsync.lake.scan import DataFile

SEGMENT_FILE_BYTES = 128 * 1024 * 1024
"""Size of a file of history: large for scans of one key, small enough to be rewritten."""

RANGE_ROWS = 128 * 1024
RANGE_BYTES = 8 * 1024 * 1024
"""Rows that are sorted at once, about."""

SORTER: dict[str, Any] = {**READER, "memory_limit": "128MB"}
METADATA = {"wbsync.compaction": "1"}
RUN = ("entity", "project", "run_id")
KEYED_TABLES = frozenset({"history", "system_metrics"})
"""Tables that lie key by key."""

SEGMENT_ORDER = ("key", *RUN, "step", "row")
BORN, BIRTH = "created_at", "_born"
"""Column with the time at which something was created, and what stands for it where it is not."""

CUT_COLUMNS = 4
"""Columns of an order that tell ranges apart: of history all but step and row; never the last."""

Place = tuple[Any, ...]
"""Values of the columns of an order."""

Range = tuple[exp.Condition, dict[str, Any]]
"""A condition, and the values of its parameters."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did to a table."""

    table: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    versions: tuple[int, int]
    """Version before and after: both hold the same rows."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        report = asdict(self)
        del report["versions"]
        return report


def target_bytes(table: str) -> int:
    """Returns the size that files of a table should have."""
    return SEGMENT_FILE_BYTES if table in SEGMENT_TABLES else TARGET_FILE_BYTES


def small_files(lake: Lake, table: str) -> list[DataFile]:
    """Returns the files of a table that are less than a quarter of the size they should have."""
    return [f for f in lake.data_files(table) if f.size < target_bytes(table) // 4]


def compact(
    lake: Lake, table: str, spill: Path, progress: Callable[[int, int], None] | None = None
) -> Compacted | None:
    """Puts the small files of a table together, in one commit.

    Args:
        lake: The lake; nobody else may write to it meanwhile.
        table: Table to compact.
        spill: Folder for what does not fit into memory.
        progress: Called with rows written and rows in all.

    Returns:
        What was done, None where there are not enough small files to become fewer.

    Raises:
        WarehouseError: A file cannot be read, or the disk refused.
    """
    before = lake.data_files(table)
    version = newer = lake.version(table)
    total = sum(f.rows or 0 for f in small_files(lake, table))
    done = 0
    while files := _next_files(lake, table):

        def counted(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
            nonlocal done
            for rows in tables:
                yield rows
                done += rows.num_rows
                if progress is not None:
                    progress(min(done, total), total)

        newer = _rewrite(lake, table, files, spill, counted)
    if version is None or newer is None or newer == version:
        return None
    after = lake.data_files(table)
    return Compacted(
        table, len(before), len(after), sum(f.size for f in before), sum(f.size for f in after),
        (version, newer),
    )  # fmt: skip


def _next_files(lake: Lake, table: str) -> list[Path]:
    """Returns small files that become fewer when they are put together, none where there are none.

    Of history the smallest are taken first, so many small ones grow in steps.
    """
    small = small_files(lake, table)
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
) -> int:
    """Puts some files of a table together, in one commit; returns the version."""
    target = target_bytes(table)
    if table in KEYED_TABLES:
        merged = merge(lake.parts(table, files), load_table(table).arrow())
        try:
            return lake.rewrite(table, files, counted(merged), METADATA, target)
        except OutOfOrderError:
            """Another tool wrote a file: it is sorted like any other table."""
    with duckdb.connect(config={**SORTER, "temp_directory": str(spill)}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = _ordered(connection, lake, table, files)
        return lake.rewrite(table, files, counted(rows), METADATA, target)


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
        query = query.order_by(*map(_ascending, order))
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


def ranges(
    connection: duckdb.DuckDBPyConnection, rows: exp.Query, columns: Sequence[str], limit: int
) -> Iterator[Range]:
    """Yields conditions that cut rows into ranges, in the order of some columns.

    Args:
        connection: Where to count.
        rows: Query for the rows.
        columns: Columns whose order to follow; only the first may be NULL, which comes first.
        limit: Rows of a range; more only where rows are equal in all of the columns.
    """
    names = [exp.column(c, quoted=True) for c in columns]
    query = exp.select(*names, exp.Count(this=exp.Star())).from_(rows.subquery("held"))
    query = query.group_by(*names).order_by(*map(_ascending, columns))
    batches = connection.sql(query.sql("duckdb")).to_arrow_reader(BATCH_ROWS)
    counts = (
        (tuple(place), count)
        for batch in batches
        for *place, count in zip(*(c.to_pylist() for c in batch.columns), strict=True)
    )
    # All are counted before the first is read, as a connection has one result at a time.
    for low, high in list(_neighbours(counts, limit)):
        values = {f"low_{i}": value for i, value in enumerate(low)}
        values |= {f"high_{i}": value for i, value in enumerate(high)}
        shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=True)) if a != b), None)
        # The first column that differs is bounded by itself, too: files are left out by that.
        conditions: list[exp.Condition] = [
            names[i].is_(exp.null()) if low[i] is None else names[i].eq(_value("low", i))
            for i in range(len(names))[:shared]
        ]
        if shared is not None:
            conditions += [
                names[shared] >= _value("low", shared),
                names[shared] <= _value("high", shared),
                _beyond(exp.GT, "low", names, shared),
                _beyond(exp.LT, "high", names, shared),
            ]
        used = {f.name for c in conditions for f in c.find_all(exp.Placeholder)}
        yield exp.and_(*conditions), {k: v for k, v in values.items() if k in used}


def _neighbours(counts: Iterable[tuple[Place, int]], limit: int) -> Iterator[tuple[Place, Place]]:
    """Yields first and last of neighbouring places that together have few enough rows.

    >>> list(_neighbours([(("a",), 2), (("b",), 3), (("c",), 9), (("d",), 1)], 5))
    [(('a',), ('b',)), (('c',), ('c',)), (('d',), ('d',))]
    """
    first: Place = ()
    last: Place = ()
    total = 0
    for place, count in counts:
        if total and (total + count > limit or (place[0] is None) != (first[0] is None)):
            yield first, last
            total = 0
        first, last, total = first if total else place, place, total + count
    if total:
        yield first, last


def _beyond(
    comparison: type[exp.Binary], bound: str, columns: list[exp.Column], start: int
) -> exp.Condition:
    """Returns the condition that columns from `start` on are the bound, or lie beyond it."""
    condition: exp.Condition = exp.true()
    for index in reversed(range(start, len(columns))):
        value = _value(bound, index)
        further = comparison(this=columns[index], expression=value)
        condition = exp.or_(further, exp.and_(columns[index].eq(value), condition))
    return condition


def _value(bound: str, index: int) -> exp.Placeholder:
    return exp.Placeholder(this=f"{bound}_{index}")


def _ascending(name: str) -> exp.Ordered:
    return exp.Ordered(this=exp.column(name, quoted=True), nulls_first=True)
