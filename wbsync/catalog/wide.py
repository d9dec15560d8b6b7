"""The queries of a project's own views: leaf tables turned wide.

max over CASE costs a tenth of max with FILTER where many columns are asked for, and only the
columns that a query names are worked out: measured on 100,000 runs of 150 keys, a quarter of a
second of CPU for one column, eight seconds for all. PIVOT works all of them out every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.catalog.ddl import column, comments, create_view, table, text
from wbsync.catalog.shape import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wbsync.catalog.record import Project

HIDDEN_RUN_COLUMNS = frozenset(
    {"entity", "project", "config", "config_raw", "summary", "system_summary", "deleted_at"}
)
"""Columns of the table runs that a project's own view does without."""

HISTORY_COLUMNS = ("run_id", "step", "row")
MEANING = {"config": "Config", "summary": "Summary", "history": "Metric"}


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column of a project's view: one key, as one kind of value."""

    part: str
    """config, summary or history."""
    key: str
    kind: str
    """number, boolean or text."""
    name: str


def runs_view(project: Project, schema: str, columns: list[KeyColumn]) -> list[exp.Expression]:
    """Returns the statements that make and describe a project's view `runs`."""
    held = [c for c in shape_of("runs").schema.columns if c.name not in HIDDEN_RUN_COLUMNS]
    query = exp.select(*(column(c.name, "run") for c in held)).from_(
        exp.alias_(table("runs"), "run", table=True)
    )
    for part in ("config", "summary"):
        chosen = [c for c in columns if c.part == part]
        if chosen:
            leaves = _wide(chosen, ["run_id"], f"run_{part}", project)
            query = query.select(*(column(c.name, part) for c in chosen))
            query = query.join(leaves.subquery(part), using=[column("run_id")], join_type="left")
    query = query.where(*_belongs(project, "run"))
    comment = f"Runs of {'/'.join(project)}, with their most frequent config and summary keys."
    described = [*((c.name, c.comment) for c in held), *_described(columns)]
    return [
        create_view("runs", query, schema),
        *comments("VIEW", "runs", comment, described, schema),
    ]


def history_view(project: Project, schema: str, columns: list[KeyColumn]) -> list[exp.Expression]:
    """Returns the statements that make and describe a project's view `history`."""
    query = _wide(columns, HISTORY_COLUMNS, "history", project)
    if columns:
        query = query.where(column("key").isin(*dict.fromkeys(text(c.key) for c in columns)))
    held = [c for c in shape_of("history").schema.columns if c.name in HISTORY_COLUMNS]
    comment = f"History of {'/'.join(project)}, wide: a column for each of its most frequent keys."
    described = [*((c.name, c.comment) for c in held), *_described(columns)]
    return [
        create_view("history", query, schema),
        *comments("VIEW", "history", comment, described, schema),
    ]


def _wide(
    columns: Iterable[KeyColumn], by: Iterable[str], source: str, project: Project
) -> exp.Select:
    """Returns the query that turns rows of a leaf table into columns."""
    group = list(map(column, by))
    values = [exp.alias_(_value(c), c.name, quoted=True) for c in columns]
    query = exp.select(*group, *values).from_(table(source))
    return query.where(*_belongs(project)).group_by(*group)


def _value(of: KeyColumn) -> exp.Expression:
    """Returns the expression for the value of a key among the rows of a group."""
    condition: exp.Condition = column("key").eq(text(of.key))
    if of.kind == "text":
        condition = exp.and_(condition, column("value").is_(exp.null()))
        json = exp.Max(this=exp.case().when(condition, column("json")))
        return exp.Anonymous(this="json_extract_string", expressions=[json, text("$")])
    number = exp.Max(this=exp.case().when(condition, column("value")))
    return number.eq(exp.Literal.number(1)) if of.kind == "boolean" else number


def _belongs(project: Project, alias: str | None = None) -> list[exp.Expression]:
    names = zip(("entity", "project"), project, strict=True)
    return [column(name, alias).eq(text(value)) for name, value in names]


def _described(columns: Iterable[KeyColumn]) -> list[tuple[str, str]]:
    return [(c.name, f"{MEANING[c.part]} {c.key}, as {c.kind}.") for c in columns]
