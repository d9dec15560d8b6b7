"""Looks at what lies on disk: are the files there, whole, and do they hold what the log says?

A Delta log says of each file how large it is and how many rows it has. Beyond that, deep looks
read every value: once to count and sum them run by run, once to find rows that are held twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from wbsync.checksum import MASK, hash_places, hash_texts, hash_values
from wbsync.lake.delta import READER
from wbsync.lake.ranges import CUT_COLUMNS, RUN, SEGMENT_ORDER, ranges
from wbsync.lake.scan import scan
from wbsync.model import Finding, RunPath
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from wbsync.lake.delta import DataFile, Lake

MISSING, TRUNCATED = "missing file", "truncated file"
UNREADABLE, MISCOUNTED = "unreadable file", "file with other rows"
BROKEN = "unreadable table"
LOST = "lost table"
DOUBLED = "doubled rows"
FILE_KINDS = frozenset({MISSING, TRUNCATED, UNREADABLE, MISCOUNTED})
"""Kinds of findings that name a file whose rows cannot be trusted."""

SUMMED = ("value", "timestamp", "runtime")
"""Columns of numbers that a checksum takes in, where a table has them."""

BATCH_ROWS = 64 * 1024
RANGE_ROWS = 500_000

Sums = dict[RunPath, tuple[int, int]]
"""Run to the number of its values and their checksum."""


def check_file(table: str, file: DataFile) -> Finding | None:
    """Returns what is wrong with a file by its size and its footer."""

    def found(kind: str, message: str) -> Finding:
        name = file.path.name
        return Finding(kind, f"{table}/{name}: {message}", table=table, file=name)

    try:
        size = file.path.stat().st_size
    except OSError:
        return found(MISSING, f"the file is gone ({_rows(file.rows)})")
    if size != file.size:
        return found(TRUNCATED, f"{size:,} bytes where {file.size:,} were written")
    try:
        rows = pq.read_metadata(file.path).num_rows
    except (OSError, pa.ArrowException) as error:
        return found(UNREADABLE, f"its footer cannot be read: {error}")
    if file.rows is not None and rows != file.rows:
        return found(MISCOUNTED, f"{_rows(rows)} where {file.rows:,} were written")
    return None


def read_whole(table: str, file: Path) -> Finding | None:
    """Returns what is wrong with a file when every value of it is read."""
    try:
        with pq.ParquetFile(file) as opened:
            for _ in opened.iter_batches(batch_size=BATCH_ROWS):
                pass
    except (OSError, pa.ArrowException) as error:
        message = f"{table}/{file.name}: a value cannot be read: {error}"
        return Finding(UNREADABLE, message, table=table, file=file.name)
    return None


def count_by_run(lake: Lake, table: str, files: Sequence[Path]) -> dict[RunPath, int]:
    """Returns how many rows some files of a table hold of each run."""
    return {RunPath(*run): n for run, n in count_by(lake, table, files, RUN).items()}


def count_by(
    lake: Lake, table: str, files: Sequence[Path], names: Sequence[str]
) -> dict[tuple[Any, ...], int]:
    """Returns how many rows some files of a table hold of each value of some columns."""
    columns = [exp.column(name, quoted=True) for name in names]
    rows = scan(load_table(table), lake.parts(table, files), names)
    query = exp.select(*columns, exp.Count(this=exp.Star())).from_(rows.subquery("held"))
    with duckdb.connect(config=READER) as connection:
        found = connection.sql(query.group_by(*columns).sql("duckdb")).fetchall()
    return {tuple(place): count for *place, count in found}


def names_by_run(
    lake: Lake, table: str, files: Sequence[Path], column: str, spill: Path
) -> dict[RunPath, tuple[int, int, datetime]]:
    """Returns, run by run, what digest_by_run says of some files, and when the last row came."""
    rows = scan(load_table(table), lake.parts(table, files), [*RUN, column, "synced_at"])
    newest = exp.alias_(exp.Max(this=exp.column("synced_at")), "newest")
    query = _digest(rows.subquery("held"), column).select(newest)
    with duckdb.connect(config={**READER, "temp_directory": str(spill)}) as connection:
        found = connection.sql(query.sql("duckdb")).to_arrow_table().to_pylist()
    return {
        RunPath(*run): (count, int(digest), at)
        for *run, count, digest, at in (row.values() for row in found)
    }


def digest_by_run(rows: pa.Table, column: str) -> dict[RunPath, tuple[int, int]]:
    """Returns how many rows there are of each run, and a hash of a column in any order."""
    with duckdb.connect(config=READER) as connection:
        connection.register("given", rows)
        found = connection.sql(_digest(exp.table_("given"), column).sql("duckdb")).fetchall()
    return {RunPath(*run): (count, digest) for *run, count, digest in found}


def _digest(rows: exp.Expression, column: str) -> exp.Select:
    names = [exp.column(name, quoted=True) for name in RUN]
    digest = exp.Sum(this=exp.func("hash", exp.column(column, quoted=True)))
    counted = exp.alias_(exp.Count(this=exp.Star()), "rows")
    query = exp.select(*names, counted, exp.alias_(digest, "digest"))
    return query.from_(rows).group_by(*names)


def distinct_steps(
    lake: Lake, table: str, files: Sequence[Path], spill: Path
) -> dict[RunPath, int]:
    """Returns how many steps some files hold of each run."""
    columns = [exp.column(c, quoted=True) for c in RUN]
    rows = scan(load_table(table), lake.parts(table, files), [*RUN, "step"])
    steps = exp.select(*columns, exp.column("step")).distinct().from_(rows.subquery("held"))
    query = exp.select(*columns, exp.Count(this=exp.column("step"))).from_(steps.subquery("steps"))
    with duckdb.connect(config={**READER, "temp_directory": str(spill)}) as connection:
        found = connection.sql(query.group_by(*columns).sql("duckdb")).fetchall()
    return {RunPath(*run): count for *run, count in found}


def sum_by_run(lake: Lake, table: str, file: Path, sums: Sums) -> None:
    """Adds what a file of history or system metrics holds to the sums of its runs.

    Raises:
        OSError, pa.ArrowException: A value cannot be read.
    """
    (part,) = lake.parts(table, [file])
    names = [c.name for c in load_table(table).columns if c.name not in part.lacking]
    numbers = [name for name in SUMMED if name in names]
    with pq.ParquetFile(file, read_dictionary=[*RUN, "key"]) as opened:
        for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=names):
            if not batch.num_rows:
                continue
            columns = {name: batch.column(name) for name in names}
            words = hash_values(
                hash_places(columns["step"], columns["row"]),
                hash_texts(columns["key"]),
                [columns[name] for name in numbers],
                columns["json"].cast(pa.string()),
            )
            codes = [columns[name].indices.to_numpy(zero_copy_only=False) for name in RUN]
            texts = [columns[name].dictionary.to_pylist() for name in RUN]
            is_new = np.zeros(batch.num_rows, bool)
            is_new[0] = True
            for column in codes:
                is_new[1:] |= column[1:] != column[:-1]
            starts = np.flatnonzero(is_new)
            totals = np.add.reduceat(words, starts).tolist()
            counts = np.diff([*starts, batch.num_rows]).tolist()
            for start, count, total in zip(starts.tolist(), counts, totals, strict=True):
                run = RunPath(*(t[c[start]] for t, c in zip(texts, codes, strict=True)))
                values, checksum = sums.get(run, (0, 0))
                sums[run] = (values + count, (checksum + total) & MASK)


def doubled_values(
    lake: Lake,
    table: str,
    files: Sequence[Path],
    spill: Path,
    progress: Callable[[int, int], None],
) -> dict[RunPath, int]:
    """Returns the runs of which history or system metrics hold a value more than once.

    Args:
        lake: The lake.
        table: Table to look at.
        files: Its files that can be read.
        spill: Folder for what does not fit into memory.
        progress: Called with the ranges of values that were looked at, and all there are.
    """
    rows = scan(load_table(table), lake.parts(table, files), SEGMENT_ORDER)
    place = [exp.column(c, quoted=True) for c in SEGMENT_ORDER]
    doubled: dict[RunPath, int] = {}
    with duckdb.connect(config={**READER, "temp_directory": str(spill)}) as connection:
        cuts = list(ranges(connection, rows, SEGMENT_ORDER[:CUT_COLUMNS], RANGE_ROWS))
        for number, (condition, values) in enumerate(cuts, 1):
            query = exp.select(*place, exp.Count(this=exp.Star())).from_(rows.subquery("held"))
            query = query.where(condition).group_by(*place)
            query = query.having(exp.Count(this=exp.Star()) > exp.Literal.number(1))
            for _, entity, project, run_id, *_, count in connection.sql(
                query.sql("duckdb"), params=values or None
            ).fetchall():
                run = RunPath(entity, project, run_id)
                doubled[run] = doubled.get(run, 0) + count - 1
            progress(number, len(cuts))
    return doubled


def doubled_keys(
    lake: Lake, table: str, files: Sequence[Path], spill: Path
) -> list[tuple[Any, ...]]:
    """Returns primary keys that a table holds more than once; none where it has no key."""
    schema = load_table(table)
    if not schema.primary_key or not files:
        return []
    key = [exp.column(c, quoted=True) for c in schema.primary_key]
    rows = scan(schema, lake.parts(table, files), schema.primary_key)
    query = exp.select(*key).from_(rows.subquery("held")).group_by(*key)
    query = query.having(exp.Count(this=exp.Star()) > exp.Literal.number(1))
    with duckdb.connect(config={**READER, "temp_directory": str(spill)}) as connection:
        return connection.sql(query.sql("duckdb")).fetchall()


def steps_of_run(
    lake: Lake, table: str, files: Sequence[Path], run: RunPath
) -> tuple[list[int], list[int]]:
    """Returns the steps that some files hold of a run, and those that they hold twice, in part."""
    rows = scan(load_table(table), lake.parts(table, files), SEGMENT_ORDER)
    place = [exp.column(c, quoted=True) for c in ("key", "step", "row")]
    values = {name: getattr(run, name) for name in RUN}
    query = exp.select(*place, exp.alias_(exp.Count(this=exp.Star()), "n"))
    query = query.from_(rows.subquery("held")).group_by(*place)
    for name in RUN:
        query = query.where(exp.column(name, quoted=True).eq(exp.Placeholder(this=name)))
    step = exp.column("step", quoted=True)
    steps = exp.select(step, exp.Max(this=exp.column("n"))).from_(query.subquery("places"))
    steps = steps.where(exp.not_(step.is_(exp.null()))).group_by(step).order_by(step)
    with duckdb.connect(config=READER) as connection:
        found = connection.sql(steps.sql("duckdb"), params=values).fetchall()
    return [step for step, _ in found], [step for step, most in found if most > 1]


def unreadable(table: str, error: Exception) -> Finding:
    """Returns the finding that a table cannot be read at all."""
    return Finding(BROKEN, f"{table}: {error}", table=table)


def healthy(files: Sequence[DataFile], damaged: Collection[str]) -> list[Path]:
    """Returns the files that nothing is known to be wrong with."""
    return [file.path for file in files if file.path.name not in damaged]


def _rows(count: int | None) -> str:
    return "rows unknown" if count is None else f"{count:,} rows"
