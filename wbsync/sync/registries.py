"""Keeps the registries of an entity's organisations in step with W&B.

One request asks for the organisations of an entity and, for those known from the last time, for
their registries and collections, in which whatever changes shows. Versions come with it while they
are few; where they are many, only those of collections that differ from what is held are read. An
organisation or a registry that the server does not show is left as it is: it may be hidden.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wbsync.api import batch_document, iter_pages
from wbsync.errors import ApiError, GraphQLError, RateLimitedError, ServerError, TransportError
from wbsync.extract.registries import (
    PREFIX,
    build_registry_collection_rows,
    build_registry_rows,
    build_registry_version_rows,
)
from wbsync.extract.rows import nodes_of
from wbsync.extract.values import as_int
from wbsync.sync.batches import lacks
from wbsync.sync.inventory import changed_keys, write_differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wbsync.sync.context import EntityContext

TABLES = ("registries", "registry_collections", "registry_versions")
DOCUMENT = "organization_registries"
CONNECTIONS = {
    "registries": "projects",
    "collections": "artifactCollections",
    "versions": "artifactMemberships",
}
"""Variable of the document that asks for it, to the connection."""

PAGE_ROWS = 500
SMALL_PAGE_ROWS = 50
"""For servers that fail on more."""
FEW_VERSIONS = 500
"""So many versions come with the opening request, and need no sign of having changed."""
MAX_FILTERED = 100
"""Collections that a filter may name."""
NONE_FOR_S = 86_400.0
"""How long an entity without an organisation is not asked about."""


async def sync_registries(context: EntityContext) -> None:
    """Reads the registries of the entity's organisations, where there are any."""
    known = context.state.organizations(context.client.base_url, context.entity)
    names, learnt_at = known if known is not None else ([], 0.0)
    is_recent = abs(time.time() - learnt_at) < NONE_FOR_S
    if not names and is_recent and not context.options.only:
        return
    with _left_out(context, context.entity):
        await _sync(context, names)


@contextmanager
def _left_out(context: EntityContext, whose: str) -> Iterator[None]:
    """Goes on where the server refuses: what belongs to projects is committed already."""
    try:
        yield
    except (TransportError, RateLimitedError):
        raise
    except ApiError as error:
        context.skip(f"registries of {whose}", str(error))


async def _sync(context: EntityContext, known: list[str]) -> None:
    held = {name: await asyncio.to_thread(_read_held, context, name) for name in known}
    count = sum(tables["registry_versions"].num_rows for tables in held.values())
    data = await _open(context, known, versions=count <= FEW_VERSIONS)
    entity = data.get("entity")
    if entity is None:
        return
    names = _names(entity)
    base_url = context.client.base_url
    context.state.remember_organizations(base_url, context.entity, names, time.time())
    shown = {name: data.get(f"r{i}") for i, name in enumerate(known)}
    new = [name for name in names if name not in shown]
    if new:
        data = await _open(context, new, versions=True)
        shown |= {name: data.get(f"r{i}") for i, name in enumerate(new)}
        held |= {name: await asyncio.to_thread(_read_held, context, name) for name in new}
    for name in names:
        organization = (shown[name] or {}).get("orgEntity")
        if organization is not None:
            with _left_out(context, name):
                await _Organization(context, name, organization, held[name]).sync()


def _names(entity: dict[str, Any]) -> list[str]:
    """Returns the organisations of an entity: a team's one, or those of the person behind it."""
    found = [entity.get("organization"), *((entity.get("user") or {}).get("organizations") or [])]
    return list(dict.fromkeys(o["name"] for o in found if o and o.get("name")))


def _read_held(context: EntityContext, organization: str) -> dict[str, pa.Table]:
    where = [("organization", "=", organization)]
    return {table: context.lake.read(table, filters=where) for table in TABLES}


async def _open(context: EntityContext, names: list[str], *, versions: bool) -> dict[str, Any]:
    """Asks for the entity's organisations, and for what some of them hold."""
    variables = {
        "entity": context.entity,
        "registries": True,
        "collections": True,
        "versions": versions,
        **{f"n{i}": name for i, name in enumerate(names)},
    }
    document = batch_document(DOCUMENT, len(names))
    try:
        return await context.client.execute(
            document, {**variables, "perPage": PAGE_ROWS}, max_attempts=3 if names else None
        )
    except (ServerError, GraphQLError):
        if not names:
            raise
        return await context.client.execute(document, {**variables, "perPage": SMALL_PAGE_ROWS})


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
            shown: Its entity, as the opening request gives it.
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
            batch_document(DOCUMENT, 1),
            {
                "entity": context.entity,
                "n0": self._name,
                **{other: other == kind for other in CONNECTIONS},
                **{argument: json.dumps(value) for argument, value in filters.items()},
            },
            connection=lambda data: ((data.get("r0") or {}).get("orgEntity") or {}).get(
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
            registries = sorted(PREFIX + r for r in _values(collections, "registry"))
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
