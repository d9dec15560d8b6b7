"""Keeps artifacts in step with W&B, from the one light request that opens a project's sync.

That request lists every artifact collection with its tags, its aliases, and its newest versions
with when they changed. Only of those that differ from what is held are all versions read. A change
to an older version that moves nothing else is found by `--full`.
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
    is_alias_in,
)
from wbsync.extract.rows import nodes_of
from wbsync.extract.values import parse_time
from wbsync.sync.context import project_filter
from wbsync.sync.drift import find_drift
from wbsync.sync.inventory import (
    PAGE_ROWS,
    changed_keys,
    project_variables,
    read_held,
    write_changes,
)

if TYPE_CHECKING:
    from datetime import datetime

    from wbsync.lake.delta import Filter
    from wbsync.sync.context import Context

COLLECTION_KEY = ["entity", "project", "type_name", "collection"]
COLLECTION_ROWS = 500
LISTED_VERSIONS = 50
"""Versions of each collection that the light request lists."""


async def sync_artifacts(context: Context, types: dict[str, Any], began: datetime) -> None:
    """Reads artifact types and collections, and the versions of collections that changed.

    Args:
        context: The project's sync.
        types: The connection of artifact types as the opening request lists them, each with its
            collections, and those with their newest versions.
        began: The server's clock at that request.
    """
    import pyarrow as pa

    pairs: list[tuple[str, dict[str, Any]]] = []
    type_nodes, is_whole = nodes_of(types), True
    if (types.get("pageInfo") or {}).get("hasNextPage"):
        type_nodes, is_whole = await _list_types(context, type_nodes)
    for node in type_nodes:
        connection = node.get("artifactCollections") or {}
        collections = nodes_of(connection)
        if (connection.get("pageInfo") or {}).get("hasNextPage"):
            collections, keeps_still = await _list_collections(context, node["name"])
            is_whole = is_whole and keeps_still
        pairs += [(node["name"], collection) for collection in collections]
    type_rows = build_type_rows(type_nodes, context.project, context.synced_at)
    rows = build_collection_rows(pairs, context.project, context.synced_at)
    differing = await differing_collections(context, pairs)
    done: set[tuple[str, str]] = set()
    try:
        for type_name, node in pairs:
            name = (type_name, node["name"])
            if name in differing or context.options.full:
                since = None if name in differing else began
                await _sync_collection(context, *name, checked_since=since)
            done.add(name)
    except BudgetSpentError:
        keys = [(c["type_name"], c["collection"]) for c in rows.to_pylist()]
        read = rows.filter(pa.array([k in done for k in keys], pa.bool_()))
        await write_changes(context, "artifact_collections", read, key=COLLECTION_KEY, gone=False)
        raise
    if is_whole:
        await _forget_collections(context, {node["name"] for _, node in pairs})
    key = ["entity", "project", "type_name"]
    await write_changes(context, "artifact_types", type_rows, key=key, gone=is_whole)
    await write_changes(context, "artifact_collections", rows, key=COLLECTION_KEY, gone=is_whole)


def listed_collections(types: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Returns (type, collection) of the collections that the opening request lists."""
    return [
        (node["name"], collection)
        for node in nodes_of(types)
        for collection in nodes_of(node.get("artifactCollections"))
    ]


async def differing_collections(
    context: Context, pairs: list[tuple[str, dict[str, Any]]]
) -> set[tuple[str, str]]:
    """Returns (type, name) of the collections that are not just as they are held."""
    rows = build_collection_rows(pairs, context.project, context.synced_at)
    held = await read_held(context, "artifact_collections")
    changed = changed_keys(held, rows, ("type_name", "collection"))
    stale = await _stale_collections(context, pairs)
    return {
        (type_name, node["name"])
        for type_name, node in pairs
        if (type_name, node["name"]) in changed or node["name"] in stale
    }


async def _list_types(
    context: Context, listed: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], bool]:
    """Returns all types of a project, and whether the list kept still while it was read.

    Those that the opening request does not list come without their collections, which are then
    listed by themselves.
    """
    nodes = {node["id"]: node for node in listed}
    keeps_still = True
    async for page in iter_pages(
        context.client,
        load_document("artifact_types"),
        project_variables(context),
        connection=lambda data: (data.get("project") or {}).get("artifactTypes"),
        page_rows=PAGE_ROWS,
    ):
        unlisted = {"artifactCollections": {"pageInfo": {"hasNextPage": True}}}
        nodes = {n["id"]: {**n, **unlisted} for n in page.nodes} | nodes
        keeps_still = keeps_still and not page.has_gaps
    return list(nodes.values()), keeps_still


async def _list_collections(context: Context, type_name: str) -> tuple[list[dict[str, Any]], bool]:
    """Returns all collections of a type, and whether the list kept still while it was read."""
    nodes: dict[str, dict[str, Any]] = {}
    keeps_still = True
    async for page in iter_pages(
        context.client,
        load_document("type_collections"),
        {**project_variables(context), "type": type_name, "versions": LISTED_VERSIONS},
        connection=lambda data: ((data.get("project") or {}).get("artifactType") or {}).get(
            "artifactCollections"
        ),
        page_rows=COLLECTION_ROWS,
    ):
        nodes |= {node["id"]: node for node in page.nodes}
        keeps_still = keeps_still and not page.has_gaps
    return list(nodes.values()), keeps_still


async def _stale_collections(context: Context, pairs: list[tuple[str, dict[str, Any]]]) -> set[str]:
    """Returns the collections whose listed versions or aliases are not what is held."""
    has_links = any(node.get("__typename") == "ArtifactPortfolio" for _, node in pairs)
    where = [] if has_links else project_filter(context)
    columns = ["artifact_id", "entity", "project", "collection", "updated_at", "deleted_at"]
    held = await asyncio.to_thread(
        lambda: context.lake.read("artifacts", columns=columns, filters=where).to_pylist()
    )
    versions = {row["artifact_id"]: row for row in held if row["deleted_at"] is None}
    at_home: dict[str, set[str]] = {}
    home = (context.project.entity, context.project.project)
    for row in versions.values():
        if (row["entity"], row["project"]) == home:
            at_home.setdefault(row["collection"], set()).add(row["artifact_id"])
    aliases: dict[str, dict[str, str]] = {}
    for row in (await read_held(context, "artifact_aliases")).to_pylist():
        aliases.setdefault(row["collection"], {})[row["alias"]] = row["artifact_id"]
    stale = set()
    for _, node in pairs:
        name, listing = node["name"], node.get("artifacts") or {}
        listed = {v["id"]: v for v in nodes_of(listing) if v.get("state") != "DELETED"}
        is_all = len(listed) == listing.get("totalCount")
        points_to = {
            alias["alias"]: artifact_id
            for artifact_id, version in listed.items()
            for alias in version.get("aliases") or []
            if is_alias_in(alias, context.project, name)
        }
        names = {a["alias"] for a in nodes_of(node.get("aliases"))} | points_to.keys()
        ours = aliases.get(name, {})
        if (
            any(
                (row := versions.get(artifact_id)) is None
                or row["updated_at"] != parse_time(version.get("updatedAt"))
                for artifact_id, version in listed.items()
            )
            or (is_all and not at_home.get(name, set()) <= listed.keys())
            or names != ours.keys()
            or any(ours[alias] != artifact_id for alias, artifact_id in points_to.items())
            or any(ours[a] in listed for a in names - points_to.keys())
        ):
            stale.add(name)
    return stale


async def _sync_collection(
    context: Context, type_name: str, collection: str, *, checked_since: datetime | None
) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    nodes: dict[str, dict[str, Any]] = {}
    variables = {**project_variables(context), "type": type_name, "collection": collection}
    keeps_still = True

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
        nodes |= {node["id"]: node for node in page.nodes if node.get("state") != "DELETED"}
        keeps_still = not page.has_gaps
    rows = build_artifact_rows(list(nodes.values()), context.project, context.synced_at)
    await write_changes(
        context, "artifacts", rows, key=["artifact_id"], gone=False, checked_since=checked_since
    )
    if keeps_still:
        await _forget_versions(context, ("collection", "=", collection), set(nodes))
    aliases = build_alias_rows(list(nodes.values()), context.project, collection, context.synced_at)
    key = ["entity", "project", "collection", "alias"]
    held = await read_held(context, "artifact_aliases")
    held = held.filter(pc.equal(held["collection"], collection))
    if changed_keys(held, aliases, key) or held.num_rows != aliases.num_rows:
        if checked_since is not None:
            context.tally.drift += find_drift("artifact_aliases", held, aliases, key, checked_since)
        scope = pa.table(
            {
                "entity": [context.project.entity],
                "project": [context.project.project],
                "collection": [collection],
            }
        )
        await context.write("artifact_aliases", aliases, scope=scope)


async def _forget_versions(context: Context, which: Filter, alive: set[str]) -> None:
    """Marks the held versions of a collection that W&B no longer lists."""
    where = [*project_filter(context), which, ("deleted_at", "is", None)]
    held = await asyncio.to_thread(
        lambda: context.lake.read("artifacts", columns=["artifact_id"], filters=where)
    )
    lost = sorted(set(held["artifact_id"].to_pylist()) - alive)
    if lost:
        await context.amend(
            "artifacts",
            [*where, ("artifact_id", "in", lost)],
            {"deleted_at": context.synced_at},
        )


async def _forget_collections(context: Context, alive: set[str]) -> None:
    """Marks the versions of collections that W&B no longer lists, and drops their aliases."""
    aliases = await read_held(context, "artifact_aliases")
    where = [*project_filter(context), ("deleted_at", "is", None)]
    columns = ["collection"]
    held = await asyncio.to_thread(
        lambda: context.lake.read("artifacts", columns=columns, filters=where)
    )
    for name in sorted(set(held["collection"].to_pylist()) - alive):
        await _forget_versions(context, ("collection", "=", name), set())
    scope = aliases.select(["entity", "project", "collection", "alias"])
    lost = [name not in alive for name in aliases["collection"].to_pylist()]
    if any(lost):
        scope = scope.filter(lost)
        await context.write("artifact_aliases", aliases.slice(0, 0), scope=scope)
