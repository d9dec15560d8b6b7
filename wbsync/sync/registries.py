"""Keeps the registries of an entity's organisations in step with W&B.

They come with the entity's own request: registries and collections, in which whatever changes
shows, and versions while they are few. Where they are many, only those of collections that differ
from what is held are read. An organisation or a registry that the server does not show is left as
it is: it may be hidden.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wbsync.api import iter_pages, load_document
from wbsync.errors import ApiError, GraphQLError, TransportError
from wbsync.extract.registries import (
    build_registry_collection_rows,
    build_registry_rows,
    build_registry_version_rows,
)
from wbsync.extract.rows import nodes_of
from wbsync.extract.values import as_int
from wbsync.model import REGISTRY_PREFIX
from wbsync.sync.batches import lacks
from wbsync.sync.entity_state import REGISTRY_TABLES, entity_state
from wbsync.sync.inventory import changed_keys, write_differences

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wbsync.sync.context import EntityContext

TABLES = REGISTRY_TABLES
CONNECTIONS = {
    "registries": "projects",
    "collections": "artifactCollections",
    "versions": "artifactMemberships",
}
"""Variable of the document that asks for it, to the connection."""

PAGE_ROWS = 500
MAX_FILTERED = 100
"""Collections that a filter may name."""


async def sync_registries(context: EntityContext) -> None:
    """Brings the registries of the entity's organisations up to date, where there are any."""
    state = await entity_state(context)
    skipped = len(context.tally.skipped)
    if "registries" in state.refused:
        words = f"{state.refused['registries']} (--skip registries)"
        context.skip(f"{context.entity} registries", words)
    for organization in state.organizations:
        name, entity = organization["name"], organization.get("orgEntity")
        if entity is None:
            continue
        held = await asyncio.to_thread(_read_held, context, name)
        try:
            await _Organization(context, name, entity, held).sync()
        except TransportError:
            raise
        except ApiError as error:
            context.skip(f"registries of {name}", str(error))
    if state.entity is not None and len(context.tally.skipped) == skipped:
        context.whole.add(TABLES[0])


def _read_held(context: EntityContext, organization: str) -> dict[str, pa.Table]:
    where = [("organization", "=", organization)]
    return {table: context.lake.read(table, filters=where) for table in TABLES}


class _Organization:
    """The sync of one organisation that the server shows."""

    def __init__(
        self,
        context: EntityContext,
        name: str,
        shown: dict[str, Any],
        held: dict[str, pa.Table],
    ) -> None:
        """Takes an organisation.

        Args:
            context: The entity's sync.
            name: Its name.
            shown: Its entity, as the entity's own request gives it.
            held: What is held of it, table by table.
        """
        self._context = context
        self._name = name
        self._shown = shown
        self._held = held
        self._has_versions = CONNECTIONS["versions"] in shown

    async def sync(self) -> None:
        """Writes what differs: versions first, for by its collection they are found to differ."""
        context, at = self._context, self._context.synced_at
        collections = await self._listing("collections")
        if collections is not None:
            total = as_int(self._shown[CONNECTIONS["collections"]].get("totalCount"))
            is_whole = total is None or total <= len(collections)
            rows = build_registry_collection_rows(collections, self._name, at)
            await self._sync_versions(collections, rows, is_whole=is_whole)
            held = self._held["registry_collections"]
            if not is_whole:
                held = _where(held, "collection_id", _values(rows, "collection_id"))
            await write_differences(
                context, "registry_collections", held, rows, key=["collection_id"]
            )
        projects = await self._listing("registries")
        if projects is not None:
            entity = str(self._shown.get("name") or "")
            rows = build_registry_rows(projects, self._name, entity, at)
            held, key = self._held["registries"], ["organization", "registry"]
            await write_differences(context, "registries", held, rows, key=key)

    async def _listing(self, kind: str) -> list[dict[str, Any]] | None:
        """Returns all nodes of a connection, None where the server does not show it."""
        connection = self._shown.get(CONNECTIONS[kind])
        if connection is None:
            return None
        nodes = nodes_of(connection)
        info = connection.get("pageInfo") or {}
        if info.get("hasNextPage"):
            nodes += await self._pages(kind, start=info.get("endCursor"))
        return nodes

    async def _pages(
        self, kind: str, *, start: str | None = None, **filters: Any
    ) -> list[dict[str, Any]]:
        context = self._context
        found: list[dict[str, Any]] = []
        async for page in iter_pages(
            context.client,
            load_document("organization_registries"),
            {
                "organization": self._name,
                **{other: other == kind for other in CONNECTIONS},
                **{argument: json.dumps(value) for argument, value in filters.items()},
            },
            connection=lambda data: ((data.get("organization") or {}).get("orgEntity") or {}).get(
                CONNECTIONS[kind]
            ),
            page_rows=PAGE_ROWS,
            start=start,
        ):
            found += page.nodes
        return found

    async def _sync_versions(
        self, nodes: list[dict[str, Any]], collections: pa.Table, *, is_whole: bool
    ) -> None:
        """Reads and writes the versions that may differ: all, or those of some collections.

        Args:
            nodes: Collections as the server lists them.
            collections: Their rows.
            is_whole: Whether no collection is hidden.
        """
        if lacks(self._context, "Entity.artifactMemberships"):
            return
        held = self._held["registry_versions"]
        counts = dict(
            zip(
                collections["collection_id"].to_pylist(),
                collections["version_count"].to_pylist(),
                strict=True,
            )
        )
        gone = _values(held, "collection_id") - counts.keys() if is_whole else set()
        if self._has_versions:
            found = await self._listing("versions")
            if found is None:
                return
            rows = build_registry_version_rows(found, self._name, self._context.synced_at)
            scope = counts.keys() | gone
        else:
            changed = self._changed(nodes, collections)
            rows = build_registry_version_rows(
                await self._versions_of(changed), self._name, self._context.synced_at
            )
            rows = _where(rows, "collection_id", _values(changed, "collection_id"))
            scope = _values(changed, "collection_id") | gone
        listed = Counter(rows["collection_id"].to_pylist())
        hidden = {c for c, count in counts.items() if count is not None and listed[c] < count}
        shown = _where(held, "membership_id", _values(rows, "membership_id"))
        unlisted = _where(held, "membership_id", _values(rows, "membership_id"), keep=False)
        unlisted = _where(unlisted, "collection_id", scope - hidden)
        await write_differences(
            self._context,
            "registry_versions",
            pa.concat_tables([shown, unlisted]),
            rows,
            key=["membership_id"],
        )

    def _changed(self, nodes: list[dict[str, Any]], collections: pa.Table) -> pa.Table:
        """Returns the collections whose versions may differ from those held."""
        changed = changed_keys(self._held["registry_collections"], collections, ["collection_id"])
        ids = {collection_id for (collection_id,) in changed}
        held: dict[str, set[str]] = {}
        for row in self._held["registry_versions"].to_pylist():
            if row["deleted_at"] is None:
                aliases = held.setdefault(row["collection_id"], set())
                aliases.update(json.loads(row["aliases"] or "[]"))
        for node in nodes:
            connection = node.get("aliases") or {}
            listed = {alias["alias"] for alias in nodes_of(connection)}
            known = held.get(node["id"], set())
            is_cut = (connection.get("pageInfo") or {}).get("hasNextPage")
            if listed - known or (known - listed and not is_cut):
                ids.add(node["id"])
        return _where(collections, "collection_id", ids)

    async def _versions_of(self, collections: pa.Table) -> list[dict[str, Any]]:
        """Asks for the versions of some collections; for all, where the server takes no filter."""
        if not collections.num_rows:
            return []
        if collections.num_rows <= MAX_FILTERED:
            registries = sorted(REGISTRY_PREFIX + r for r in _values(collections, "registry"))
            names = sorted(_values(collections, "collection"))
            try:
                return await self._pages(
                    "versions",
                    projectFilter={"name": {"$in": registries}},
                    collectionFilter={"name": {"$in": names}},
                )
            except GraphQLError:
                pass
        return await self._pages("versions")


def _values(table: pa.Table, column: str) -> set[Any]:
    return set(table[column].to_pylist())


def _where(table: pa.Table, column: str, values: Iterable[Any], *, keep: bool = True) -> pa.Table:
    """Returns the rows whose column holds one of some values; or the others."""
    wanted = set(values)
    mask = [(value in wanted) == keep for value in table[column].to_pylist()]
    return table.filter(pa.array(mask, pa.bool_()))
