"""Counts, for each project, which keys its runs have and what their values are.

The schema that each project has of its own is made from these counts. They are kept in the
published file and follow what changes, so that one edited run costs as much as its own keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from wbsync.catalog.ddl import column, create_temporary, table
from wbsync.catalog.writing import run

if TYPE_CHECKING:
    from wbsync.catalog.record import Project
    from wbsync.catalog.writing import Connection

PARTS = {"run_config": "config", "run_summary": "summary", "history_keys": "history"}
"""Tables that say which keys there are, and of what."""

_OF_LEAF = {
    "numbers": "value IS NOT NULL AND json IS DISTINCT FROM 'true'"
    " AND json IS DISTINCT FROM 'false'",
    "booleans": "coalesce(json IN ('true', 'false'), false)",
    "texts": "value IS NULL AND coalesce(json <> 'null', false)",
}
_OF_HISTORY = {
    "numbers": "types IS NULL OR contains(types, '\"number\":') OR contains(types, '\"boolean\":')",
    "booleans": "false",
    "texts": "coalesce(contains("
    "regexp_replace(types, '\"(number|boolean|nil)\":', '', 'g'), '\"'), false)",
}
_DELTA = (
    "SELECT entity, project, key, sum(sign)::BIGINT AS runs,"
    " sum(sign * numbers)::BIGINT AS numbers, sum(sign * booleans)::BIGINT AS booleans,"
    " sum(sign * texts)::BIGINT AS texts GROUP BY entity, project, key"
)


def kinds(name: str) -> list[exp.Expr]:
    """Returns the columns that say what the value of a row is, as 0 or 1 each."""
    conditions = _OF_HISTORY if name == "history_keys" else _OF_LEAF
    return [
        exp.alias_(exp.cast(sqlglot.parse_one(text, dialect="duckdb"), "BIGINT"), kind)
        for kind, text in conditions.items()
    ]


def count_all(connection: Connection, name: str, stored: str) -> set[Project]:
    """Counts the keys of a whole table anew, and returns the projects that have any."""
    connection.execute("DELETE FROM _wbsync.keys WHERE part = ?", [PARTS[name]])
    return count_changes(connection, name, came(name, table(stored)))


def came(name: str, rows: exp.Expression) -> exp.Select:
    """Returns the query that `count_changes` takes, for rows that all came."""
    sign = exp.alias_(exp.Literal.number(1), "sign")
    columns = map(column, ("entity", "project", "key"))
    return exp.select(sign, *columns, *kinds(name)).from_(rows)


def count_changes(connection: Connection, name: str, changed: exp.Query) -> set[Project]:
    """Adds changes to the counts, and returns the projects they belong to.

    Args:
        connection: The file.
        name: Table that changed.
        changed: Query for the rows that changed: `sign` (1 for one that came, -1 for one that
            went), entity, project, key, and the columns of `kinds`.
    """
    part = PARTS[name]
    delta = sqlglot.parse_one(_DELTA, dialect="duckdb", into=exp.Select).from_(
        changed.subquery("changed")
    )
    run(connection, create_temporary("delta", delta))
    connection.execute(
        "UPDATE _wbsync.keys AS held SET runs = held.runs + delta.runs,"
        " numbers = held.numbers + delta.numbers, booleans = held.booleans + delta.booleans,"
        " texts = held.texts + delta.texts FROM temp.delta AS delta"
        " WHERE held.part = ? AND held.entity = delta.entity AND held.project = delta.project"
        " AND held.key = delta.key",
        [part],
    )
    connection.execute(
        "INSERT INTO _wbsync.keys SELECT entity, project, $part, key, delta.runs, delta.numbers,"
        " delta.booleans, delta.texts FROM temp.delta AS delta ANTI JOIN"
        " (SELECT * FROM _wbsync.keys WHERE part = $part) AS held USING (entity, project, key)",
        {"part": part},
    )
    touched = connection.execute("SELECT DISTINCT entity, project FROM temp.delta").fetchall()
    connection.execute("DROP TABLE temp.delta")
    return {(entity, project) for entity, project in touched}
