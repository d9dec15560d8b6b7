"""Which runs a sync fetches, by a filter: what a server is asked, and the test of its answer.

A server is asked for at least the runs that pass (`push_down`). What it answers is tested here,
page by page, with the same SQL as everything else: servers may ignore filters, or mean something
else by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.model import Selection
from wbsync.query.filters import Filter, Question, build_select, parse_filter, push_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    Nodes = Sequence[Mapping[str, Any]]

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
    return Selection(frozenset(runs), since, push_down(found).filter, _matcher(found))


def _matcher(found: Filter) -> Callable[[Nodes], frozenset[str]]:
    """Returns what tells, of a page of runs, the ids of those that pass."""
    question = Question(found, columns=("run_id",))
    query = build_select(question, from_leaves=False, tables=TABLES).sql("duckdb", copy=False)

    def passing(nodes: Nodes) -> frozenset[str]:
        import duckdb

        if not nodes:
            return frozenset()
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, rows in _tables(nodes).items():
                connection.register(name, rows)
            return frozenset(run for (run,) in connection.execute(query).fetchall())

    return passing


def _tables(nodes: Nodes) -> dict[str, Any]:
    from datetime import UTC, datetime

    from wbsync.extract.rows import build_table
    from wbsync.extract.runs import build_run_rows
    from wbsync.model import ProjectPath

    project, now = ProjectPath("-", "-"), datetime.now(UTC)
    rows = build_run_rows([dict(node) for node in nodes], project, now)
    place = {"entity": "-", "project": "-", "held_count": 0, "synced_at": now}
    keys = [
        {**place, "run_id": node["name"], "key": key}
        for node in nodes
        for key in (node.get("historyKeys") or {}).get("keys") or ()
    ]
    return {
        "runs": rows.runs,
        "run_artifacts": rows.run_artifacts,
        "history_keys": build_table("history_keys", keys),
    }
