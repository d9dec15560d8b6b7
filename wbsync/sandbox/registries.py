"""Registries: projects of an organisation's entity that hold portfolios, searched as one.

An organisation's registries, their collections and the versions in them are listed with filters and
orders that run over all of them. What a viewer may not see leaves its page, so a page may be empty
while more follow.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.artifacts import CollectionNode, MembershipNode
from wbsync.sandbox.filters import (
    MISSING,
    FilterError,
    canonical_field,
    matches,
    nested,
    parse_order,
    sort_key,
)
from wbsync.sandbox.nodes import by_key, connection
from wbsync.sandbox.store import global_id, load_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from wbsync.sandbox.nodes import Node, Scope
    from wbsync.sandbox.store import Store

PREFIX = "wandb-registry-"


def allows_all_types(store: Store, project_pk: int) -> bool:
    """Says whether artifacts of any type may be linked into a registry."""
    allowed = store.value("SELECT allow_all FROM registries WHERE project_pk = ?", project_pk)
    return allowed is None or bool(allowed)


PUBLIC, OPEN = "USER_READ", "USER_WRITE"
"""Access of projects that everyone may see, and that everyone may edit, too."""


def may_edit_project(scope: Scope, row: sqlite3.Row) -> bool:
    """Says whether the viewer may edit a project, given that they may see it."""
    return row["access"] == OPEN or scope.may_see(row["entity_pk"])


def may_see_project(scope: Scope, row: sqlite3.Row) -> bool:
    """Says whether the viewer may see a project: a restricted one only if it is their own."""
    if row["access"] in {PUBLIC, OPEN}:
        return True
    if not scope.may_see(row["entity_pk"]):
        return False
    is_own = scope.viewer["admin"] or row["user_pk"] == scope.viewer["pk"]
    return row["access"] != "RESTRICTED" or bool(is_own)


def _value(row: sqlite3.Row, column: str) -> Any:
    return MISSING if row[column] is None else row[column]


def _project_lookup(row: sqlite3.Row) -> Callable[[str], Any]:
    def lookup(path: str) -> Any:
        columns = {"id": "pk", "project_id": "pk", "entity_id": "entity_pk"}
        if path in {*columns, "name", "description", "createdAt", "updatedAt"}:
            return _value(row, columns.get(path, path))
        raise FilterError(f"registries have no field {path}")

    return lookup


def _collection_lookup(store: Store, row: sqlite3.Row) -> Callable[[str], Any]:
    def lookup(path: str) -> Any:
        if path in {"artifact_collection_id", "collection_id", "id"}:
            return [row["pk"], global_id("ArtifactCollection", row["pk"])]
        if path in {"tag", "tags"}:
            return [
                tag[0]
                for tag in store.rows(
                    "SELECT name FROM collection_tags WHERE collection_pk = ?", row["pk"]
                )
            ]
        if path in {"name", "collection_name", "artifact_collection_name"}:
            return row["name"]
        if path in {"description", "createdAt", "updatedAt"}:
            return _value(row, path)
        raise FilterError(f"collections have no field {path}")

    return lookup


def _version_lookup(store: Store, row: sqlite3.Row) -> Callable[[str], Any]:
    """Returns the fields of a membership, whose row has its artifact's columns beside its own."""

    def lookup(path: str) -> Any:
        head, _, rest = canonical_field(path).partition(".")
        if head in {"id", "artifact_id"}:
            return [row["artifact_pk"], global_id("Artifact", row["artifact_pk"])]
        if head in {"version", "version_index"}:
            return [row["versionIndex"], f"v{row['versionIndex']}"]
        if head in {"tag", "tags"}:
            tags = store.rows(
                "SELECT name FROM artifact_tags WHERE artifact_pk = ?", row["artifact_pk"]
            )
            return [tag[0] for tag in tags]
        if head in {"alias", "aliases"}:
            aliases = store.rows(
                "SELECT alias FROM aliases WHERE collection_pk = ? AND artifact_pk = ?",
                row["collection_pk"], row["artifact_pk"],
            )  # fmt: skip
            return [alias[0] for alias in aliases]
        if head in {"metadata", "artifact_metadata"}:
            return nested(load_json(row["metadata"], {}), rest.split(".") if rest else [])
        columns = {
            "artifact_size": "size", "createdAt": "made_at", "updatedAt": "updatedAt",
            "linkedAt": "createdAt",
        }  # fmt: skip
        if head in columns:
            return _value(row, columns[head])
        raise FilterError(f"versions have no field {path}")

    return lookup


def _chosen(
    rows: Sequence[sqlite3.Row], filters: str | None, lookup: Callable[[sqlite3.Row], Any]
) -> list[sqlite3.Row]:
    """Returns the rows that pass a filter.

    Raises:
        GraphQLError: The filter is none, or names what is no field.
    """
    try:
        parsed = json.loads(filters) if filters else {}
        return [row for row in rows if matches(parsed or {}, lookup(row))]
    except ValueError as error:
        raise GraphQLError(f"invalid filter: {error}") from error


def _ordered(
    rows: list[sqlite3.Row], order: str | None, lookup: Callable[[sqlite3.Row], Any]
) -> list[sqlite3.Row]:
    if not order:
        return rows
    field, is_descending = parse_order(order)
    try:
        return sorted(rows, key=lambda r: sort_key(lookup(r)(field)), reverse=is_descending)
    except FilterError as error:
        raise GraphQLError(f"invalid order: {error}") from error


def _page(
    scope: Scope, rows: list[sqlite3.Row], make: Callable[[sqlite3.Row], Node], page: dict[str, Any]
) -> dict[str, Any]:
    """Returns a page of nodes, less those of projects that the viewer may not see."""
    found = {row["pk"]: row for row in rows}
    answer = connection(
        scope, list(found), lambda keys: [make(r) for r in by_key(list(found.values()), keys)],
        **page,
    )  # fmt: skip
    seen: dict[int, bool] = {}

    def is_visible(row: sqlite3.Row) -> bool:
        pk = row["project_pk"]
        if pk not in seen:
            project = scope.store.row("SELECT * FROM projects WHERE pk = ?", pk)
            seen[pk] = project is not None and may_see_project(scope, project)
        return seen[pk]

    answer["edges"] = [e for e in answer["edges"] if is_visible(found[e["node"].row["pk"]])]
    return answer


def _projects(scope: Scope, entity_pk: int, filters: str | None) -> list[sqlite3.Row]:
    rows = scope.store.rows(
        "SELECT *, pk AS project_pk FROM projects WHERE entity_pk = ? ORDER BY createdAt DESC,"
        " pk DESC",
        entity_pk,
    )
    return _chosen(rows, filters, _project_lookup)


def project_page(
    scope: Scope, entity_pk: int, filters: str | None, order: str | None, **page: Any
) -> dict[str, Any]:
    """Returns a page of an entity's projects."""
    from wbsync.sandbox.projects import ProjectNode

    rows = _ordered(_projects(scope, entity_pk, filters), order, _project_lookup)
    return _page(scope, rows, lambda row: ProjectNode(scope, row), page)


def filtered_collections(
    scope: Scope, rows: list[sqlite3.Row], filters: str | None, order: str | None
) -> list[sqlite3.Row]:
    """Returns the collections that pass a filter, in order."""

    def lookup(row: sqlite3.Row) -> Callable[[str], Any]:
        return _collection_lookup(scope.store, row)

    return _ordered(_chosen(rows, filters, lookup), order, lookup)


def _collections(
    scope: Scope, entity_pk: int, project_filters: str | None, filters: str | None
) -> list[sqlite3.Row]:
    projects = {row["pk"] for row in _projects(scope, entity_pk, project_filters)}
    rows = [
        row
        for row in scope.store.rows(
            "SELECT c.* FROM collections c JOIN projects p ON p.pk = c.project_pk"
            " WHERE p.entity_pk = ? ORDER BY c.pk",
            entity_pk,
        )
        if row["project_pk"] in projects
    ]
    return filtered_collections(scope, rows, filters, None)


def collection_page(
    scope: Scope,
    entity_pk: int,
    projectFilters: str | None = None,
    filters: str | None = None,
    collectionTypes: list[str] | None = None,
    order: str | None = None,
    **page: Any,
) -> dict[str, Any]:
    """Returns a page of the collections of an entity's projects."""
    kinds = {kind.lower() for kind in collectionTypes or ()}
    rows = [
        row
        for row in _collections(scope, entity_pk, projectFilters, filters)
        if not kinds or row["kind"] in kinds
    ]
    rows = filtered_collections(scope, rows, None, order)
    return _page(scope, rows, lambda row: CollectionNode.of(scope, row), page)


def membership_page(
    scope: Scope,
    entity_pk: int,
    projectFilters: str | None = None,
    collectionFilters: str | None = None,
    filters: str | None = None,
    order: str | None = None,
    **page: Any,
) -> dict[str, Any]:
    """Returns a page of the versions in an entity's portfolios."""
    collections = {
        row["pk"]
        for row in _collections(scope, entity_pk, projectFilters, collectionFilters)
        if row["kind"] == "portfolio"
    }
    rows = [
        row
        for row in scope.store.rows(
            "SELECT m.*, c.project_pk, a.metadata, a.size, a.createdAt AS made_at, a.updatedAt"
            " FROM memberships m JOIN artifacts a ON a.pk = m.artifact_pk"
            " JOIN collections c ON c.pk = m.collection_pk JOIN projects p ON p.pk = c.project_pk"
            " WHERE p.entity_pk = ? AND a.state = 'COMMITTED' ORDER BY m.pk DESC",
            entity_pk,
        )
        if row["collection_pk"] in collections
    ]

    def lookup(row: sqlite3.Row) -> Callable[[str], Any]:
        return _version_lookup(scope.store, row)

    rows = _ordered(_chosen(rows, filters, lookup), order, lookup)
    return _page(scope, rows, lambda row: MembershipNode(scope, row), page)
