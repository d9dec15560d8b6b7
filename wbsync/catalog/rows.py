"""Fills tables of the published file with rows of the lake."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from wbsync.catalog.ddl import column, comments, create_table, described, drop_table, table
from wbsync.catalog.writing import run, run_together
from wbsync.lake.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wbsync.catalog.shape import Shape
    from wbsync.catalog.writing import Connection
    from wbsync.lake.scan import Part
    from wbsync.tables import TableSchema


SORTED_BYTES = 16 * 1024 * 1024
"""Size of the files, as the lake compresses them, whose rows are sorted together."""


def published(schema: TableSchema, rows: exp.Query | exp.Table) -> exp.Select:
    """Returns the query for rows as they are published: instants in UTC, without a zone."""
    columns = []
    for held in schema.columns:
        value: Any = column(held.name)
        if held.type == "TIMESTAMP":
            value = exp.func("make_timestamp", exp.func("epoch_us", value))
        columns.append(exp.alias_(value, held.name, quoted=True))
    source = rows if isinstance(rows, exp.Table) else rows.subquery("held")
    return exp.select(*columns).from_(source)


def append(connection: Connection, shape: Shape, parts: Sequence[Part]) -> None:
    """Adds the rows of some files to a table."""
    query = published(shape.schema, scan(shape.schema, parts))
    run(connection, exp.insert(query, table(shape.stored)))


def _append_ordered(connection: Connection, shape: Shape, parts: Sequence[Part]) -> None:
    """Adds rows in their order, some files at a time: a sort of all would prune no better."""
    for part in parts:
        for files in _together(part.files):
            query = published(shape.schema, scan(shape.schema, [replace(part, files=files)]))
            query = query.order_by(*map(column, shape.order), copy=False)
            run(connection, exp.insert(query, table(shape.stored)))


def _together(files: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Yields files in groups that a sort holds in memory."""
    group: list[Path] = []
    size = 0
    for file in files:
        size += file.stat().st_size
        if group and size > SORTED_BYTES:
            yield tuple(group)
            group, size = [], file.stat().st_size
        group.append(file)
    if group:
        yield tuple(group)


def fill(connection: Connection, shape: Shape, rows: Sequence[Part] | pa.Table) -> None:
    """Makes a table of the rows of files, or of Arrow rows; one that was there is dropped."""
    run_together(
        connection,
        [
            drop_table(shape.stored),
            create_table(shape.stored, shape.schema.columns, shape.key),
            *described_as("TABLE", shape),
        ],
    )
    if not isinstance(rows, pa.Table):
        if shape.order:
            _append_ordered(connection, shape, rows)
        elif rows:
            append(connection, shape, rows)
    elif rows.num_rows:
        connection.register("incoming", rows)
        query = published(shape.schema, exp.table_("incoming"))
        run(connection, exp.insert(query, table(shape.stored)))
        connection.unregister("incoming")


def described_as(kind: str, shape: Shape) -> Iterator[exp.Comment]:
    """Returns the comments of what holds all rows of a table."""
    comment = shape.schema.comment
    if shape.schema.leaves_out:
        comment += " With those that W&B no longer has."
    return comments(kind, shape.stored, comment, described(shape.schema))
