"""The query that shows history wide: a column for each of some keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.model import ProjectPath

BY = ("run_id", "step", "row")
"""What one row is."""


def wide_history(
    project: ProjectPath, keys: Sequence[str], runs: Sequence[str] | None
) -> tuple[str, list[Any], list[str]]:
    """Returns the query, its parameters, and the names of its columns.

    Args:
        project: Whose history.
        keys: Keys, in the order of the columns.
        runs: Run ids; None takes all.
    """

    def column(name: str) -> exp.Column:
        return exp.column(name, quoted=True)

    def one_of(name: str, values: Sequence[str]) -> exp.Condition:
        return column(name).isin(*(exp.Placeholder() for _ in values)) if values else exp.false()

    value = exp.case().when(column("key").eq(exp.Placeholder()), column("value"))
    by = [column(name) for name in BY]
    query = exp.select(*by, *(exp.Max(this=value.copy()) for _ in keys)).from_("history")
    for name in ("entity", "project"):
        query = query.where(column(name).eq(exp.Placeholder()))
    query = query.where(one_of("key", keys))
    if runs is not None:
        query = query.where(one_of("run_id", runs))
    query = query.group_by(*by).order_by(*by)
    parameters = [*keys, project.entity, project.project, *keys, *(runs or ())]
    return query.sql("duckdb"), parameters, [*BY, *keys]
