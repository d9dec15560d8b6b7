"""The views of `main`: tables that stay in the lake, and the plain names without what is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.catalog.ddl import column, comments, create_view, described, table, text
from wbsync.catalog.overlay import OVERLAID, overlaid
from wbsync.catalog.rows import described_as, published
from wbsync.catalog.shape import lake_tables, shape_of
from wbsync.catalog.writing import run, run_together
from wbsync.lake.scan import scan
from wbsync.resources import read_resource
from wbsync.tables import OWNERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from wbsync.catalog.shape import Shape
    from wbsync.catalog.writing import Connection
    from wbsync.lake.scan import Part


def write_lake_view(connection: Connection, shape: Shape, parts: Sequence[Part]) -> None:
    """Makes the view over a table's Parquet files, which it names one by one."""
    query = published(shape.schema, scan(shape.schema, parts))
    run_together(connection, [create_view(shape.stored, query), *described_as("VIEW", shape)])


def find_gone(connection: Connection) -> frozenset[str]:
    """Returns which owners have rows that W&B no longer has."""
    gone = []
    for owner in OWNERS:
        query = exp.select(exp.Count(this=column("deleted_at"))).from_(table(f"{owner}_all"))
        if connection.execute(query.sql("duckdb")).fetchall()[0][0]:
            gone.append(owner)
    return frozenset(gone)


def write_plain_views(
    connection: Connection,
    gone: frozenset[str],
    pending: frozenset[str],
    names: Collection[str] | None = None,
) -> None:
    """Makes the plain names of filtered tables, and `<table>_remote` of those that edits change.

    Args:
        connection: The file.
        gone: Owners that have rows to leave out. Where there are none, a view has no join, so
            that queries pay only for what is the case.
        pending: Tables that edits lie over.
        names: Tables whose views are to be made; None for all.
    """
    statements: list[exp.Expression] = []
    for shape in map(shape_of, lake_tables() if names is None else sorted(names)):
        if not shape.schema.leaves_out:
            continue
        comment = shape.schema.comment
        if shape.name in OVERLAID:
            remote = f"{comment} As W&B holds it, without edits that wait."
            statements += _view(shape, f"{shape.name}_remote", table(shape.stored), gone, remote)
        held = overlaid(shape).subquery() if shape.name in pending else table(shape.stored)
        statements += _view(shape, shape.name, held, gone, comment)
    run_together(connection, statements)


def _view(
    shape: Shape,
    name: str,
    held: exp.Table | exp.Subquery,
    gone: frozenset[str],
    comment: str,
) -> Iterator[exp.Expression]:
    columns = [column(c.name, "held") for c in shape.schema.columns]
    query = exp.select(*columns).from_(exp.alias_(held, "held", table=True))
    for owner in shape.schema.owners:
        if owner in gone:
            key = list(map(column, OWNERS[owner]))
            rows = exp.select(*key).from_(table(f"{owner}_all"))
            rows = rows.where(column("deleted_at").is_(exp.null()).not_())
            query = query.join(rows.subquery(f"gone_{owner}"), using=[*key], join_type="anti")
    if shape.schema.marks_deletions:
        query = query.where(column("deleted_at", "held").is_(exp.null()))
    yield create_view(name, query)
    yield from comments("VIEW", name, comment, described(shape.schema))


def write_macros(connection: Connection) -> None:
    """Makes the table macros of `main`."""
    connection.execute(read_resource("queries/warehouse/history_wide.sql"))
    comment = text(
        "History of a project, a column for each of up to six keys:"
        " FROM history_wide('entity', 'project', 'loss', key2 := 'lr')"
        " AS wide(run_id, step, row, loss, lr)."
    )
    run(
        connection,
        exp.Comment(this=table("history_wide"), kind="MACRO TABLE", expression=comment),
    )
