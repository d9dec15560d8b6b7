"""Which runs a sync fetches, by a filter: what a server is asked, and the test of its answer.

A server is asked for at least the runs that pass (`push_down`). What it answers is tested here,
page by page, with the same SQL as everything else: servers may ignore filters, or mean something
else by them. Runs that are held as the server shows them are tested by what is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.model import Selection
from wbsync.query.filters import Filter, Question, build_select, parse_filter, push_down
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    import pyarrow as pa

    from wbsync.query.filters.logic import Expression

TABLES = ("runs", "run_artifacts", "history_keys")
"""Tables that a page of runs is enough to fill, and that filters may ask."""


def select_runs(
    filters: str | Mapping[str, Any] | None,
    *,
    runs: Iterable[str] = (),
    since: datetime | None = None,
) -> Selection:
    """Returns the selection of runs that pass a filter.

    Args:
        filters: A filter in any of W&B's spellings; None and an empty one let all pass.
        runs: Ids of the only runs; empty for all.
        since: Only runs created or active since then.

    Raises:
        FilterError: The filter cannot be used.

    >>> select_runs({"state": "finished", "config.a.b": 1}).filters
    {'state': 'finished'}
    """
    if not filters:
        return Selection(frozenset(runs), since)
    found = parse_filter(filters)
    return Selection(frozenset(runs), since, push_down(found).filter, _build_test(found))


@dataclass(frozen=True, slots=True)
class _Test:
    """A filter as a query of the tables that a page of runs fills."""

    query: str
    reads: Mapping[str, frozenset[str]]

    def __call__(self, rows: Mapping[str, pa.Table]) -> frozenset[str]:
        import duckdb

        if not rows["runs"].num_rows:
            return frozenset()
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name in self.reads:
                connection.register(name, rows[name])
            return frozenset(run for (run,) in connection.execute(self.query).fetchall())


def _build_test(found: Filter) -> _Test:
    """Returns what tells, of some runs, the ids of those that pass."""
    from sqlglot import exp

    question = Question(found, columns=("run_id",))
    query = build_select(question, from_leaves=False, tables=TABLES)
    names = {table.name for table in query.find_all(exp.Table)}
    return _Test(query.sql("duckdb", copy=False), {name: _columns(query, name) for name in names})


def _columns(query: Expression, table: str) -> frozenset[str]:
    """Returns the columns of a table whose names stand in a query, and its key's first."""
    from sqlglot import exp

    named = {column.name for column in query.find_all(exp.Column)}
    own = {column.name for column in load_table(table).columns}
    return frozenset(own & {*named, "entity", "project", "run_id"})
