"""Keeps artifacts in step with W&B, from the one light request that opens a project's sync.

That request lists every artifact collection with its tags, its aliases, and its newest versions
with when they changed. Only of those that differ from what is held are all versions read. A change
to an older version that moves nothing else is found by `--full`. A collection of which something
was not told is read again by the next sync.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.errors import BudgetSpentError
from wbsync.extract.artifacts import (
    build_alias_rows,
    build_artifact_rows,
    build_collection_rows,
    build_type_rows,
    is_alias_in,
    told_aliases,
)
from wbsync.extract.rows import lists_all, nodes_of
from wbsync.extract.values import parse_time
from wbsync.sync.context import project_filter
from wbsync.sync.drift import find_drift
from wbsync.sync.inventory import (
    PAGE_ROWS,
    changed_keys,
    project_variables,
    read_held,
    write_changes,
    write_differences,
)
from wbsync.sync.untold import Untold, skip_list, tag_connection, tag_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from wbsync.lake.delta import Filter
    from wbsync.sync.context import Context
    from wbsync.sync.untold import Source

COLLECTION_KEY = ["entity", "project", "type_name", "collection"]
COLLECTION_ROWS = 500
LISTED_VERSIONS = 50
"""Versions of each collection that the light request lists."""


COLLECTION_FIELDS: dict[str, Source] = {
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "tags": tag_connection,
    "artifacts": lambda row: {"totalCount": row["version_count"]},
}
VERSION_FIELDS: dict[str, Source] = {
    "versionIndex": "version_index",
    "state": "state",
    "tags": tag_nodes,
    "digest": "digest",
    "size": "size_bytes",
    "fileCount": "file_count",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
"""Fields whose null says nothing where something is held."""

UNTOLD = "untold collections"
"""Mark that lists the collections of which something was not told when they were read."""


async def sync_artifacts(
    context: Context, types: dict[str, Any] | None, began: datetime, refused: str | None = None
) -> None:
    """Reads artifact types and collections, and the versions of collections that changed.

    Args:
        context: The project's sync.
        types: The connection of artifact types as the opening request lists them, each with its
            collections, and those with their newest versions; None where the server does not.
        began: The server's clock at that request.
        refused: The server's words where it refused the list, or some of it.
    """
    import pyarrow as pa

    if types is None or refused is not None:
        skip_list(context, "artifactTypes", refused, "artifacts")
    if types is None:
        return
    pairs: list[tuple[str, dict[str, Any]]] = []
    type_nodes, is_whole = nodes_of(types), refused is None and lists_all(types)
    if (types.get("pageInfo") or {}).get("hasNextPage"):
        type_nodes, keeps_still = await _list_types(context, type_nodes)
        is_whole = is_whole and keeps_still
    for node in type_nodes:
        connection = node.get("artifactCollections")
        if connection is None:
            skip_list(context, f"artifactCollections of {node['name']}", None, "artifacts")
            is_whole = False
            continue
        collections = nodes_of(connection)
        if (connection.get("pageInfo") or {}).get("hasNextPage"):
            collections, keeps_still = await _list_collections(context, node["name"])
            is_whole = is_whole and keeps_still
        is_whole = is_whole and (lists_all(connection) or "edges" not in connection)
        pairs += [(node["name"], collection) for collection in collections]
    untold = await _fill(context, type_nodes, pairs, is_whole=is_whole)
    type_rows = build_type_rows(type_nodes, context.project, context.synced_at)
    rows = build_collection_rows(pairs, context.project, context.synced_at)
    differing = await differing_collections(context, pairs, untold)
    again = _read_marks(context)
    done: set[tuple[str, str]] = set()
    try:
        for type_name, node in pairs:
            name = (type_name, node["name"])
            if name in differing | again or context.options.full:
                since = None if name in differing | again else began
                await _sync_collection(context, *name, untold, checked_since=since)
            done.add(name)
    except BudgetSpentError:
        keys = [(c["type_name"], c["collection"]) for c in rows.to_pylist()]
        read = rows.filter(pa.array([k in done for k in keys], pa.bool_()))
        await write_changes(context, "artifact_collections", read, key=COLLECTION_KEY, gone=False)
        raise
    finally:
        untold.say()
    if is_whole:
        await _forget_collections(context, {node["name"] for _, node in pairs})
    key = ["entity", "project", "type_name"]
    await write_changes(context, "artifact_types", type_rows, key=key, gone=is_whole)
    await write_changes(context, "artifact_collections", rows, key=COLLECTION_KEY, gone=is_whole)


async def _fill(
    context: Context,
    types: list[dict[str, Any]],
    pairs: list[tuple[str, dict[str, Any]]],
    *,
    is_whole: bool,
) -> Untold:
    """Fills the nulls of types and collections from what is held of them."""
    untold = Untold(context, "artifacts")
    held_types = (await read_held(context, "artifact_types")).to_pylist()
    held = (await read_held(context, "artifact_collections")).to_pylist()
    by_type = {row["type_name"]: row for row in held_types}
    by_id = {row["collection_id"]: row for row in held}
    for node in types:
        untold.fill(node, by_type.get(node["name"]), {"createdAt": "created_at"}, node["name"])
    for type_name, node in pairs:
        key, row = f"{type_name}/{node['name']}", by_id.pop(node["id"], None)
        if node.get("tags") and not lists_all(node["tags"]):
            node["tags"] = None
        untold.fill(node, row, COLLECTION_FIELDS, key)
        if node.get("artifacts"):
            untold.fill(node["artifacts"], row, {"totalCount": "version_count"}, key)
    for collection_id, row in by_id.items():
        if row["deleted_at"] is None and not is_whole:
            untold.note("node", str(collection_id))
    return untold


def _read_marks(context: Context) -> set[tuple[str, str]]:
    """Returns (type, name) of the collections of which something was not told."""
    text = context.state.mark(UNTOLD, context.project.entity, context.project.project)
    return {(type_name, name) for type_name, name in json.loads(text or "[]")}


def _mark(context: Context, collection: tuple[str, str], *, is_untold: bool) -> None:
    marked = _read_marks(context)
    if (collection in marked) != is_untold:
        text = json.dumps(sorted(marked ^ {collection}))
        context.state.set_mark(UNTOLD, context.project.entity, context.project.project, text)


def listed_collections(types: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Returns (type, collection) of the collections that the opening request lists."""
    return [
        (node["name"], collection)
        for node in nodes_of(types)
        for collection in nodes_of(node.get("artifactCollections"))
    ]


async def differing_collections(
    context: Context, pairs: list[tuple[str, dict[str, Any]]], untold: Untold | None = None
) -> set[tuple[str, str]]:
    """Returns (type, name) of the collections that are not just as they are held.

    Args:
        context: The project's sync.
        pairs: Type and collection, as the opening request lists them.
        untold: Takes note of what is not told of their versions.
    """
    rows = build_collection_rows(pairs, context.project, context.synced_at)
    held = await read_held(context, "artifact_collections")
    changed = changed_keys(held, rows, ("type_name", "collection"))
    untold = untold or Untold(context, "artifacts")
    stale = await _stale_collections(context, pairs, untold)
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
        keeps_still = keeps_still and not page.has_gaps and not page.has_hidden
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
        keeps_still = keeps_still and not page.has_gaps and not page.has_hidden
    return list(nodes.values()), keeps_still


async def _stale_collections(
    context: Context, pairs: list[tuple[str, dict[str, Any]]], untold: Untold
) -> set[str]:
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
        for artifact_id, version in listed.items():
            fields = {"updatedAt": "updated_at"}
            untold.fill(version, versions.get(artifact_id), fields, artifact_id)
        told = {artifact_id: told_aliases(version) for artifact_id, version in listed.items()}
        points_to = {
            alias["alias"]: artifact_id
            for artifact_id, found in told.items()
            for alias in found or ()
            if is_alias_in(alias, context.project, name)
        }
        names = {a["alias"] for a in nodes_of(node.get("aliases"))} | points_to.keys()
        ours = aliases.get(name, {})
        versions_tell = None not in told.values()
        has_names = node.get("aliases", {}) is not None or (is_all and versions_tell)
        if ours and (not versions_tell or node.get("aliases", {}) is None):
            untold.note("aliases", name)
        if not lists_all(listing) and "edges" in listing and at_home.get(name, set()) - told.keys():
            untold.note("artifacts", name)
        if (
            any(
                (row := versions.get(artifact_id)) is None
                or row["updated_at"] != parse_time(version.get("updatedAt"))
                for artifact_id, version in listed.items()
            )
            or (is_all and not at_home.get(name, set()) <= listed.keys())
            or (has_names and names != ours.keys())
            or any(ours.get(alias) != artifact_id for alias, artifact_id in points_to.items())
            or (versions_tell and any(ours.get(a) in listed for a in names - points_to.keys()))
        ):
            stale.add(name)
    return stale


async def _sync_collection(
    context: Context,
    type_name: str,
    collection: str,
    untold: Untold,
    *,
    checked_since: datetime | None,
) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    nodes: dict[str, dict[str, Any]] = {}
    variables = {**project_variables(context), "type": type_name, "collection": collection}
    is_whole, has_hidden = True, False

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
        has_hidden = has_hidden or page.has_hidden
        is_whole = not page.has_gaps and not has_hidden
    held_versions = await read_held(context, "artifacts", [("artifact_id", "in", [*nodes])])
    held = await read_held(context, "artifact_aliases")
    held = held.filter(pc.equal(held["collection"], collection))
    is_untold = False
    for row in held_versions.to_pylist():
        node = nodes[row["artifact_id"]]
        is_untold |= untold.fill(node, row, VERSION_FIELDS, row["artifact_id"])
        source = node.get("artifactSequence") or {}
        is_untold |= untold.fill(source, row, {"project": _home}, row["artifact_id"])
    hidden = _hidden_aliases(nodes, held.to_pylist()) if has_hidden else []
    if _keep_aliases(nodes, held.to_pylist()) or hidden:
        untold.note("aliases", collection)
        is_untold = True
    _mark(context, (type_name, collection), is_untold=is_untold)
    rows = build_artifact_rows(list(nodes.values()), context.project, context.synced_at)
    await write_differences(
        context, "artifacts", held_versions, rows, key=["artifact_id"], gone=False,
        checked_since=checked_since,
    )  # fmt: skip
    if is_whole:
        await _forget_versions(context, ("collection", "=", collection), set(nodes))
    tellers = [*hidden, *nodes.values()]  # what is told of the others goes before
    aliases = build_alias_rows(tellers, context.project, collection, context.synced_at)
    key = ["entity", "project", "collection", "alias"]
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


def _home(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns the project of a held version as W&B names it."""
    return {"name": row["project"], "entityName": row["entity"]}


def _keep_aliases(nodes: dict[str, dict[str, Any]], held: list[dict[str, Any]]) -> bool:
    """Gives versions whose aliases are not told those that are held; says whether there are any.

    An alias that is told of another version has moved there.
    """
    unknown = {i for i, node in nodes.items() if told_aliases(node) is None}
    told = {a["alias"] for i, n in nodes.items() if i not in unknown for a in n.get("aliases", [])}
    for artifact_id in unknown:
        nodes[artifact_id]["aliases"] = [
            {"alias": row["alias"]}
            for row in held
            if row["artifact_id"] == artifact_id and row["alias"] not in told
        ]
    return any(row["artifact_id"] in unknown for row in held)


def _hidden_aliases(
    nodes: dict[str, dict[str, Any]], held: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns, as versions, the held aliases of versions that are not listed."""
    return [
        {
            "id": row["artifact_id"],
            "versionIndex": row["version_index"],
            "aliases": [{"alias": row["alias"]}],
        }
        for row in held
        if row["artifact_id"] not in nodes
    ]


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
