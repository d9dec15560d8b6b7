"""Reads and writes tables that are small enough to be compared whole: what differs is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wbsync.sync.context import Context, project_filter
from wbsync.sync.drift import find_drift, is_nan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from wbsync.lake.delta import Filter
    from wbsync.sync.context import EntityContext

PAGE_ROWS = 100
VOLATILE = frozenset({"synced_at", "deleted_at"})


async def read_held(
    context: EntityContext, table: str, where: Sequence[Filter] | None = None
) -> pa.Table:
    """Returns what is held of a table, for the context's project where nothing else is said."""
    filters = scope_filter(context) if where is None else where
    return await asyncio.to_thread(lambda: context.lake.read(table, filters=filters))


def scope_filter(context: EntityContext) -> list[Filter]:
    """Returns the lake filter for the context's project or, without one, for its entity."""
    if isinstance(context, Context):
        return project_filter(context)
    return [("entity", "=", context.entity)]


def project_variables(context: Context) -> dict[str, Any]:
    """Returns the variables that name the context's project."""
    return {"entity": context.project.entity, "project": context.project.project}


def changed_keys(held: pa.Table, rows: pa.Table, key: Sequence[str]) -> set[tuple[Any, ...]]:
    """Returns the keys of `rows` that are not held just so; time of sync does not count."""
    names = [n for n in rows.schema.names if n not in VOLATILE]

    def values(table: pa.Table) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        return {
            tuple(row[k] for k in key): (
                *("NaN" if is_nan(row[n]) else row[n] for n in names),
                row.get("deleted_at"),
            )
            for row in table.to_pylist()
        }

    before = values(held)
    return {k for k, value in values(rows).items() if before.get(k) != value}


async def write_changes(
    context: EntityContext,
    table: str,
    rows: pa.Table,
    *,
    key: list[str],
    gone: bool = True,
    where: Sequence[Filter] | None = None,
    checked_since: datetime | None = None,
) -> None:
    """Writes the rows that differ from what is held, and marks held rows that are listed no more.

    Args:
        context: The sync of a project or an entity.
        table: Table to write.
        rows: All rows of it, or some where `gone` is False.
        key: The table's key columns.
        gone: Whether rows that are held and not in `rows` are marked as deleted.
        where: Which held rows `rows` stand for; None for the context's project or entity.
        checked_since: Where the rows ought not to differ, the server's clock when that was found:
            the report says which do.
    """
    held = await read_held(context, table, where)
    await write_differences(
        context, table, held, rows, key=key, gone=gone, checked_since=checked_since
    )


async def write_differences(
    context: EntityContext,
    table: str,
    held: pa.Table,
    rows: pa.Table,
    *,
    key: list[str],
    gone: bool = True,
    metadata: dict[str, str] | None = None,
    checked_since: datetime | None = None,
) -> None:
    """Writes the rows that differ from those held, and marks held ones that are not among them.

    Args:
        context: The sync.
        table: Table to write.
        held: What is held of all that `rows` speaks of.
        rows: What W&B says.
        key: The table's key columns.
        gone: Whether rows that are held and not in `rows` are marked as deleted.
        metadata: Commit metadata; it is committed even where no row differs.
        checked_since: As for write_changes.
    """
    import pyarrow as pa

    changed = changed_keys(held, rows, key)
    keys = [tuple(row[k] for k in key) for row in rows.select(key).to_pylist()]
    parts = [rows.filter(pa.array([k in changed for k in keys], pa.bool_()))]
    if checked_since is not None:
        context.tally.drift += find_drift(table, held, parts[0], key, checked_since)
    if gone:
        alive = set(keys)
        held_rows = held.select([*key, "deleted_at"]).to_pylist()
        mask = [
            row["deleted_at"] is None and tuple(row[k] for k in key) not in alive
            for row in held_rows
        ]
        lost = held.filter(pa.array(mask, pa.bool_()))
        place = held.schema.get_field_index("deleted_at")
        marks = pa.array([context.synced_at] * lost.num_rows, pa.timestamp("us", tz="UTC"))
        parts.append(lost.set_column(place, held.schema.field(place), marks))
    table_rows = pa.concat_tables(parts)
    if table_rows.num_rows:
        await context.write(table, table_rows, scope=table_rows.select(key), metadata=metadata)
    elif metadata:
        await context.write(table, table_rows, metadata=metadata)
