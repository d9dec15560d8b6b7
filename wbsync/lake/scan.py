"""The query that reads a table's Parquet files, those that lack newer columns included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wbsync.tables import TableSchema

FILENAME = "filename"
"""Column with the path of a row's file, where it is asked for."""


@dataclass(frozen=True, slots=True)
class Part:
    """Files of a table that lack the same columns."""

    files: tuple[Path, ...]
    lacking: frozenset[str] = frozenset()
    """Columns that came into the table's schema after these files were written."""


def scan(
    schema: TableSchema,
    parts: Sequence[Part],
    columns: Sequence[str] | None = None,
    *,
    filename: bool = False,
) -> exp.Query:
    """Returns the query for all rows of some files.

    Args:
        schema: The table's schema.
        parts: Its files; none gives no rows.
        columns: Columns to read, None for all; what a file lacks is NULL.
        filename: Whether to add the column `filename`.
    """
    wanted = [c for c in schema.columns if columns is None or c.name in columns]
    if columns is not None:
        wanted.sort(key=lambda c: list(columns).index(c.name))

    def select(part: Part | None) -> exp.Select:
        lacking = {c.name for c in wanted} if part is None else part.lacking
        query = exp.select(
            *(
                exp.alias_(exp.cast(exp.null(), _sql_type(c.type)), c.name, quoted=True)
                if c.name in lacking
                else exp.column(c.name, quoted=True)
                for c in wanted
            ),
            copy=False,
        )
        if filename:
            name = exp.cast(exp.null(), "VARCHAR") if part is None else exp.column(FILENAME)
            query = query.select(exp.alias_(name, FILENAME))
        if part is None:
            return query.where(exp.false())
        return query.from_(_read_parquet(part.files, filename=filename), copy=False)

    queries = [select(part) for part in parts if part.files] or [select(None)]
    united: exp.Query = queries[0]
    for query in queries[1:]:
        united = exp.union(united, query, distinct=False)
    return united


def _sql_type(name: str) -> str:
    """Returns DuckDB's type for a column as the files hold it: instants have a zone."""
    return "TIMESTAMPTZ" if name == "TIMESTAMP" else name


def _read_parquet(files: Sequence[Path], *, filename: bool) -> exp.Func:
    paths = exp.Array(expressions=[exp.Literal.string(str(f)) for f in files])
    options = [exp.EQ(this=exp.to_identifier("filename"), expression=exp.true())]
    return exp.func("read_parquet", paths, *(options if filename else []))
