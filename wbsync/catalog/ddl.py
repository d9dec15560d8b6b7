"""Statements that make things in the published file, as trees: no name is ever glued into text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wbsync.tables import Column, TableSchema

MAIN = "main"


def table(name: str, schema: str = MAIN) -> exp.Table:
    """Returns a table or view of the published file."""
    return exp.table_(name, db=schema, quoted=True)


def column(name: str, of: str | None = None) -> exp.Column:
    """Returns a column, of a table where it is named."""
    return exp.column(name, table=of, quoted=True)


def text(value: str) -> exp.Literal:
    """Returns a text as a literal."""
    return exp.Literal.string(value)


def create_schema(name: str) -> exp.Create:
    """Returns the statement that makes a schema."""
    place = exp.Table(db=exp.to_identifier(name, quoted=True))
    return exp.Create(this=place, kind="SCHEMA", exists=True)


def drop_schema(name: str) -> exp.Drop:
    """Returns the statement that drops a schema with all that is in it."""
    place = exp.Table(db=exp.to_identifier(name, quoted=True))
    return exp.Drop(tables=[place], kind="SCHEMA", exists=True, cascade=True)


def create_table(
    name: str, columns: Iterable[Column], primary_key: Iterable[str] = ()
) -> exp.Create:
    """Returns the statement that makes an empty table in `main`.

    Args:
        name: Its name.
        columns: Its columns.
        primary_key: Columns of its key, none for a table without.
    """
    parts: list[exp.Expression] = [
        exp.ColumnDef(
            this=exp.to_identifier(c.name, quoted=True),
            kind=exp.DataType.build(c.type, dialect="duckdb"),
            constraints=[]
            if c.nullable
            else [exp.ColumnConstraint(kind=exp.NotNullColumnConstraint())],
        )
        for c in columns
    ]
    if key := [exp.to_identifier(name, quoted=True) for name in primary_key]:
        parts.append(exp.PrimaryKey(expressions=key))
    return exp.Create(this=exp.Schema(this=table(name), expressions=parts), kind="TABLE")


def create_temporary(name: str, query: exp.Query) -> exp.Create:
    """Returns the statement that keeps a query's rows as `temp.<name>`."""
    return exp.Create(
        this=exp.table_(name),
        kind="TABLE",
        replace=True,
        properties=exp.Properties(expressions=[exp.TemporaryProperty()]),
        expression=query,
    )


def drop_table(name: str) -> exp.Drop:
    """Returns the statement that drops a table of `main` where it exists."""
    return exp.Drop(tables=[table(name)], kind="TABLE", exists=True)


def create_view(name: str, query: exp.Query, schema: str = MAIN) -> exp.Create:
    """Returns the statement that makes a view, in the place of one that has the name."""
    return exp.Create(this=table(name, schema), kind="VIEW", replace=True, expression=query)


def comments(
    kind: str, name: str, comment: str, columns: Iterable[tuple[str, str]], schema: str = MAIN
) -> Iterator[exp.Comment]:
    """Yields the statements that describe a table or view and its columns.

    Args:
        kind: TABLE or VIEW.
        name: Its name.
        comment: What it holds.
        columns: Name and meaning of each column.
        schema: Schema it lies in.
    """
    yield exp.Comment(this=table(name, schema), kind=kind, expression=text(comment))
    for column_name, meaning in columns:
        place = exp.column(column_name, table=name, db=schema, quoted=True)
        yield exp.Comment(this=place, kind="COLUMN", expression=text(meaning))


def described(schema: TableSchema) -> list[tuple[str, str]]:
    """Returns name and meaning of each column of a table."""
    return [(c.name, c.comment) for c in schema.columns]
