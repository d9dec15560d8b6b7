"""Keeps sweeps and artifacts in step with W&B, from the one light request that opens a sync.

That request lists every sweep and every artifact collection with what identifies its state. Only
where that differs from what is held are sweeps, or the versions of a collection, read in full.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.errors import BudgetSpentError
from wbsync.extract.artifacts import (
    build_alias_rows,
    build_artifact_rows,
    build_collection_rows,
    build_type_rows,
)
from wbsync.extract.rows import nodes_of
from wbsync.extract.sweeps import build_sweep_rows
from wbsync.sync.context import Context
from wbsync.sync.runs import project_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from wbsync.lake.delta import Filter
    from wbsync.sync.context import EntityContext

PAGE_ROWS = 100
COLLECTION_KEY = ["entity", "project", "type_name", "collection"]
VOLATILE = frozenset({"synced_at", "deleted_at"})


async def sync_sweeps(context: Context, light: list[dict[str, Any]], *, runs_changed: bool) -> None:
    """Reads the sweeps in full when one of them differs from what is held, or runs changed.

    Args:
        context: The project's sync.
        light: Sweeps as the opening request lists them.
        runs_changed: Whether this sync changed any run: a sweep's best run may be another.
    """
    held = await read_held(context, "sweeps")
    if not must_read_sweeps(held, light, runs_changed=runs_changed):
        return
    nodes: list[dict[str, Any]] = []
    async for page in iter_pages(
        context.client,
        load_document("project_sweeps"),
        project_variables(context),
        connection=lambda data: (data.get("project") or {}).get("sweeps"),
        page_rows=PAGE_ROWS,
    ):
        nodes += [node for node in page.nodes if node]
    unique = list({node["name"]: node for node in nodes}.values())
    rows = build_sweep_rows(unique, context.project, context.synced_at)
    rows = await asyncio.to_thread(_with_best_runs, context, rows)
    await write_changes(context, "sweeps", rows, key=["entity", "project", "sweep_id"])


def must_read_sweeps(held: pa.Table, light: list[dict[str, Any]], *, runs_changed: bool) -> bool:
    """Says whether sweeps differ from what is held, or may have another best run."""
    rows = {row["sweep_id"]: row for row in held.to_pylist() if row["deleted_at"] is None}
    is_same = rows.keys() == {node["name"] for node in light} and all(
        _same_sweep(rows[node["name"]], node) for node in light
    )
    return not is_same or (runs_changed and bool(rows))


def _same_sweep(held: dict[str, Any], node: dict[str, Any]) -> bool:
    from wbsync.extract.values import parse_time

    pairs = (
        (held["state"], node.get("state")),
        (held["display_name"], node.get("displayName")),
        (held["run_count"], node.get("runCount")),
        (held["best_loss"], node.get("bestLoss")),
    )
    is_same_time = "updatedAt" not in node or held["updated_at"] == parse_time(node["updatedAt"])
    fields = ("state", "displayName", "runCount", "bestLoss")
    return is_same_time and all(
        ours == theirs for (ours, theirs), f in zip(pairs, fields, strict=True) if f in node
    )


def _with_best_runs(context: Context, sweeps: pa.Table) -> pa.Table:
    """Fills best_run_id: the run whose summary has the best finite value of the sweep's metric."""
    import pyarrow as pa
    import pyarrow.compute as pc

    metrics = {m for m in sweeps.column("metric").to_pylist() if m}
    if not metrics:
        return sweeps
    where = project_filter(context)
    runs = context.lake.read("runs", columns=["run_id", "sweep_id", "deleted_at"], filters=where)
    runs = runs.filter(pc.and_(pc.is_valid(runs["sweep_id"]), pc.is_null(runs["deleted_at"])))
    leaves = context.lake.read(
        "run_summary",
        columns=["run_id", "key", "value"],
        filters=[*where, ("key", "in", sorted(metrics))],
    )
    sweep_of = dict(zip(runs["run_id"].to_pylist(), runs["sweep_id"].to_pylist(), strict=True))
    best: dict[tuple[str, str], tuple[float, str]] = {}
    goals = {row["sweep_id"]: row for row in sweeps.to_pylist()}
    finite = leaves.filter(pc.fill_null(pc.is_finite(leaves["value"]), fill_value=False))
    for row in finite.to_pylist():
        sweep = goals.get(sweep_of.get(row["run_id"], ""))
        if sweep is None or sweep["metric"] != row["key"]:
            continue
        sign = -1.0 if sweep["goal"] == "maximize" else 1.0
        candidate = (sign * row["value"], row["run_id"])
        slot = (sweep["sweep_id"], row["key"])
        best[slot] = min(best.get(slot, candidate), candidate)
    ids = [
        best.get((s, m), (0.0, None))[1]
        for s, m in zip(sweeps["sweep_id"].to_pylist(), sweeps["metric"].to_pylist(), strict=True)
    ]
    place = sweeps.schema.get_field_index("best_run_id")
    return sweeps.set_column(place, sweeps.schema.field(place), pa.array(ids, pa.string()))


async def sync_artifacts(context: Context, types: list[dict[str, Any]]) -> None:
    """Reads artifact types and collections, and the versions of collections that changed.

    Args:
        context: The project's sync.
        types: Artifact types as the opening request lists them, each with its collections.
    """
    import pyarrow as pa

    for node in types:
        connection = node.get("artifactCollections") or {}
        if (connection.get("pageInfo") or {}).get("hasNextPage"):
            context.skip(
                f"{context.project} artifacts of type {node['name']}",
                "only the first 1000 collections of a type are read",
            )
    type_rows = build_type_rows(types, context.project, context.synced_at)
    pairs = _collections_of(types)
    collections = build_collection_rows(pairs, context.project, context.synced_at)
    done: set[tuple[str, str]] = set()
    try:
        for type_name, node in await collections_to_read(context, types):
            await _sync_collection(context, type_name, node["name"])
            done.add((type_name, node["name"]))
    except BudgetSpentError:
        keys = [(c["type_name"], c["collection"]) for c in collections.to_pylist()]
        read = collections.filter(pa.array([k in done for k in keys], pa.bool_()))
        await write_changes(context, "artifact_collections", read, key=COLLECTION_KEY, gone=False)
        raise
    await write_changes(
        context, "artifact_types", type_rows, key=["entity", "project", "type_name"]
    )
    await write_changes(context, "artifact_collections", collections, key=COLLECTION_KEY)


def _collections_of(types: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Returns (type, collection) of all collections that the opening request lists."""
    return [(t["name"], c) for t in types for c in nodes_of(t.get("artifactCollections") or {})]


async def collections_to_read(
    context: Context, types: list[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Returns (type, collection) of the collections that differ from what is held."""
    pairs = _collections_of(types)
    collections = build_collection_rows(pairs, context.project, context.synced_at)
    held = await read_held(context, "artifact_collections")
    changed = changed_keys(held, collections, ("type_name", "collection"))
    aliases_held = await read_held(context, "artifact_aliases")
    listed = {
        (c["name"], alias["alias"])
        for _, c in pairs
        for alias in nodes_of(c.get("aliases"))
        if alias.get("alias")
    }
    held_aliases = set(
        zip(aliases_held["collection"].to_pylist(), aliases_held["alias"].to_pylist(), strict=True)
    )
    moved = {collection for collection, _ in listed ^ held_aliases}
    return [
        (type_name, node)
        for type_name, node in pairs
        if (type_name, node["name"]) in changed or node["name"] in moved
    ]


async def _sync_collection(context: Context, type_name: str, collection: str) -> None:
    import pyarrow as pa

    nodes: dict[str, dict[str, Any]] = {}
    variables = {**project_variables(context), "type": type_name, "collection": collection}

    def connection(data: dict[str, Any]) -> Any:
        artifact_type = (data.get("project") or {}).get("artifactType") or {}
        return (artifact_type.get("artifactCollection") or {}).get("artifacts")

    async for page in iter_pages(
        context.client,
        load_document("collection_artifacts"),
        variables,
        connection=connection,
        page_rows=PAGE_ROWS,
    ):
        nodes.update((node["id"], node) for node in page.nodes if node)
    rows = build_artifact_rows(list(nodes.values()), context.project, context.synced_at)
    await write_changes(context, "artifacts", rows, key=["artifact_id"], gone=False)
    aliases = build_alias_rows(list(nodes.values()), context.project, collection, context.synced_at)
    scope = pa.table(
        {
            "entity": [context.project.entity],
            "project": [context.project.project],
            "collection": [collection],
        }
    )
    await context.write("artifact_aliases", aliases, scope=scope)


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
            tuple(row[k] for k in key): (*(row[n] for n in names), row.get("deleted_at"))
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
) -> None:
    """Writes the rows that differ from what is held, and marks held rows that are listed no more.

    Args:
        context: The sync of a project or an entity.
        table: Table to write.
        rows: All rows of it, or some where `gone` is False.
        key: The table's key columns.
        gone: Whether rows that are held and not in `rows` are marked as deleted.
        where: Which held rows `rows` stand for; None for the context's project or entity.
    """
    held = await read_held(context, table, where)
    await write_differences(context, table, held, rows, key=key, gone=gone)


async def write_differences(
    context: EntityContext,
    table: str,
    held: pa.Table,
    rows: pa.Table,
    *,
    key: list[str],
    gone: bool = True,
    metadata: dict[str, str] | None = None,
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
    """
    import pyarrow as pa

    changed = changed_keys(held, rows, key)
    keys = [tuple(row[k] for k in key) for row in rows.select(key).to_pylist()]
    parts = [rows.filter(pa.array([k in changed for k in keys], pa.bool_()))]
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
