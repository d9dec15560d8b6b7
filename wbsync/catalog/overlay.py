"""What waiting edits make of the published rows, laid over the plain tables.

Rows that W&B holds stay as they are, in `<table>_all` and under `<table>_remote`. What edits make
of them lies beside, in `_wbsync.pending_<table>`, and the plain name is a view of both:

- Of runs, artifacts and collections: the key and the columns that may be edited, NULL where an
  edit leaves them.
- Of their leaf tables: whole rows, each in the place of the one with its key, or, `is_gone`, of
  none.

A table without pending rows has no such table and no join in its view: nobody pays for edits that
there are none of. Edits alone are published on top of the newest build, whatever the lake holds by
then, so they neither wait for a sync nor show half of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlglot import exp

from wbsync.catalog.ddl import column, table
from wbsync.catalog.rows import fill, published
from wbsync.catalog.shape import shape_of
from wbsync.catalog.writing import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from wbsync.catalog.shape import Shape
    from wbsync.catalog.writing import Connection

    Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

EDITABLE: Mapping[str, tuple[str, ...]] = {
    "runs": (
        "display_name", "state", "notes", "tags", "group_name", "job_type", "config", "summary",
    ),
    "artifacts": ("description", "metadata", "tags"),
    "artifact_collections": ("description", "tags"),
}  # fmt: skip
"""Table to its columns that edits change."""

REPLACED = ("artifact_aliases", "run_config", "run_summary", "run_tags")
"""Tables of which edits change whole rows."""

OVERLAID = (*EDITABLE, *REPLACED)


@dataclass(frozen=True, slots=True)
class Pending:
    """Pending rows, and whose they are."""

    rows: Mapping[str, pa.Table]
    """Table to its pending rows, in the columns of `pending_schema`."""
    scopes: Mapping[str, pa.Table | None]
    """Table to columns of the things whose pending rows these are, all there are; None for all
    things. Pending rows of others, and of tables that are left out, stay."""


class Overlay(Protocol):
    """Where edits come from: the queue of a warehouse."""

    def version(self) -> str:
        """Returns what changes whenever the queue does; empty while nothing was ever queued."""

    def since(self, version: str) -> str:
        """Returns a version after which alone one need look; empty where all must be looked at."""

    def log(self, since: str) -> pa.Table:
        """Returns the rows of the table edits, those that have changed since a version."""

    def trail(self, since: str) -> pa.Table:
        """Returns the rows of the table edit_log, those that have come since a version."""

    def pending(self, read: Read, since: str) -> Pending:
        """Returns the pending rows, of what has changed since a version.

        Args:
            read: Asks the file that is being made, whose `<table>_all` hold what W&B holds.
            since: The version; empty for all.
        """


def pending_schema(name: str) -> pa.Schema:
    """Returns the columns of the pending rows of a table."""
    import pyarrow as pa

    schema = shape_of(name).schema
    whole = schema.arrow()
    if name in REPLACED:
        return whole.append(pa.field("is_gone", pa.bool_()))
    return pa.schema([whole.field(c) for c in (*schema.primary_key, *EDITABLE[name])])


def write_overlay(
    connection: Connection,
    overlay: Overlay | None,
    pending: frozenset[str] = frozenset(),
    since: str = "",
    log_since: str = "",
) -> frozenset[str]:
    """Writes the table edits and pending rows; returns the tables that have any.

    Args:
        connection: The file; its rows from the lake are up to date.
        overlay: Where edits come from; None for nowhere.
        pending: Tables that had pending rows.
        since: Version of the overlay after which pending rows have changed; empty to make all anew.
        log_since: The same of the tables edits and edit_log.
    """
    logs = {"edits": "op_id", "edit_log": "line"}
    if overlay is None:
        for name in logs:
            fill(connection, shape_of(name), ())
        return frozenset()
    for (name, key), rows in zip(
        logs.items(), (overlay.log(log_since), overlay.trail(log_since)), strict=True
    ):
        shape = shape_of(name)
        if log_since:
            stored = published(shape.schema, exp.table_("incoming"))
            _exchange(connection, table(shape.stored), rows, rows.select([key]), stored)
        else:
            fill(connection, shape, rows)

    def read(query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return connection.execute(query, list(parameters)).fetchall()

    made = overlay.pending(read, since)
    left = set(pending)
    for name, scope in made.scopes.items():
        rows = made.rows.get(name, pending_schema(name).empty_table())
        place = _place(name)
        if scope is None or name not in pending:
            run(connection, exp.Drop(tables=[place], kind="TABLE", exists=True))
            left.discard(name)
            if rows.num_rows:
                connection.register("incoming", rows)
                query = _stored_as(name)
                run(connection, exp.Create(this=place, kind="TABLE", expression=query))
                connection.unregister("incoming")
                left.add(name)
            continue
        _exchange(connection, place, rows, scope, _stored_as(name))
        count = exp.select(exp.Count(this=exp.Star())).from_(place)
        if not read(count.sql("duckdb"), ())[0][0]:
            left.discard(name)
    return frozenset(left)


def _exchange(
    connection: Connection,
    place: exp.Table,
    rows: pa.Table,
    scope: pa.Table,
    query: exp.Query,
) -> None:
    """Puts rows, which a query reads as `incoming`, in the place of those of some things."""
    if not scope.num_rows:
        return
    connection.register("scope", scope)
    held = exp.alias_(place.copy(), "held", table=True)
    equal = exp.and_(*(column(n, "held").eq(column(n, "scope")) for n in scope.column_names))
    gone = exp.Delete(this=held, using=[exp.table_("scope")], where=exp.Where(this=equal))
    run(connection, gone)
    connection.unregister("scope")
    connection.register("incoming", rows)
    run(connection, exp.insert(query, place))
    connection.unregister("incoming")


def _stored_as(name: str) -> exp.Select:
    """Returns the query for incoming pending rows as they are stored."""
    if name in REPLACED:
        return published(shape_of(name).schema, exp.table_("incoming")).select("is_gone")
    return exp.select("*").from_("incoming")


def overlaid(shape: Shape) -> exp.Query:
    """Returns the query for all rows of a table as edits make them; W&B's deletions included."""
    schema = shape.schema
    names = [c.name for c in schema.columns]
    key = [column(name) for name in schema.primary_key]
    stored = exp.alias_(table(shape.stored), "stored", table=True)
    pending = exp.alias_(_place(shape.name), "pending", table=True)
    if shape.name in EDITABLE:
        editable = EDITABLE[shape.name]
        columns = [
            exp.alias_(
                exp.Coalesce(this=column(n, "pending"), expressions=[column(n, "stored")]),
                n, quoted=True,
            ) if n in editable else column(n, "stored")
            for n in names
        ]  # fmt: skip
        return exp.select(*columns).from_(stored).join(pending, using=[*key], join_type="left")
    kept = exp.select(*(column(n, "stored") for n in names)).from_(stored)
    kept = kept.join(pending, using=[*key], join_type="anti")
    made = exp.select(*(column(n, "pending") for n in names)).from_(pending.copy())
    made = made.where(exp.Not(this=column("is_gone", "pending")))
    return exp.union(kept, made, distinct=False)


def _place(name: str) -> exp.Table:
    return table(f"pending_{name}", "_wbsync")
