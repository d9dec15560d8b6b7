"""Cuts rows into ranges that are small enough to be sorted or grouped in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.lake.delta import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

RUN = ("entity", "project", "run_id")
SEGMENT_ORDER = ("key", *RUN, "step", "row")
"""The order in which history and system metrics lie."""

CUT_COLUMNS = 4
"""Columns of an order that tell ranges apart: of history all but step and row."""

Place = tuple[Any, ...]
"""Values of the columns of an order."""

Range = tuple[exp.Condition, dict[str, Any]]
"""A condition, and the values of its parameters."""


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
    query = query.group_by(*names).order_by(*map(ascending, columns))
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


def ascending(name: str) -> exp.Ordered:
    """Returns the order by a column, NULL first."""
    return exp.Ordered(this=exp.column(name, quoted=True), nulls_first=True)
