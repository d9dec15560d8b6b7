"""What changes collections: links into portfolios and out of them, names, types, tags, deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.artifacts import (
    CollectionNode,
    add_membership,
    artifact_pk_of,
    ensure_collection,
    ensure_type,
    set_alias,
)
from wbsync.sandbox.registries import PREFIX, allows_all_types
from wbsync.sandbox.store import global_id, now, parse_id

if TYPE_CHECKING:
    import sqlite3

    from wbsync.sandbox.nodes import Scope
    from wbsync.sandbox.store import Store


MAX_TAGS = 20
"""Tags in one mutation, as the SDK's input types say."""


def touch(store: Store, collection_pk: int) -> None:
    """Notes that a collection has changed."""
    store.write("UPDATE collections SET updatedAt = ? WHERE pk = ?", now(), collection_pk)


def link_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Links a version into a portfolio, which is made where it is missing; a registry is not.

    Raises:
        GraphQLError: Version, entity or registry are not there, or it does not take the type.
    """
    store = scope.store
    if values.get("artifactID"):
        pk = artifact_pk_of(scope, values["artifactID"])
    else:
        pk = store.value(
            "SELECT artifact_pk FROM client_ids WHERE client_id = ?", values.get("clientID")
        )
    if pk is None:
        raise GraphQLError("artifact not found")
    with store.transaction():
        collection_pk = _target(scope, pk, values)
        membership = store.row(
            "SELECT * FROM memberships WHERE collection_pk = ? AND artifact_pk = ?",
            collection_pk, pk,
        )  # fmt: skip
        version = membership["versionIndex"] if membership else _next_version(store, collection_pk)
        add_membership(scope, collection_pk, pk, version)
        for alias in [*(a["alias"] for a in values.get("aliases") or []), "latest"]:
            set_alias(scope, collection_pk, pk, alias)
        touch(store, collection_pk)
    node = CollectionNode.load(scope, collection_pk)
    return {"versionIndex": version, "artifactMembership": node.artifactMembership("latest")}


def _target(scope: Scope, artifact_pk: int, values: dict[str, Any]) -> int:
    """Returns the key of the portfolio that a link names."""
    store = scope.store
    if values.get("artifactPortfolioID"):
        return int(_row_of(scope, values["artifactPortfolioID"], "portfolio")["pk"])
    entity, project = values.get("entityName") or "", values.get("projectName") or ""
    name = values.get("artifactPortfolioName")
    entity_pk = store.value("SELECT pk FROM entities WHERE name = ?", entity)
    if not name or entity_pk is None or not scope.may_see(entity_pk):
        raise GraphQLError("entity or portfolio not found")
    project_pk = store.project_pk(entity, project)
    if project_pk is None:
        if project.startswith(PREFIX):
            raise GraphQLError(f"registry {project} not found")
        project_pk = store.ensure_project(entity, project, scope.viewer["pk"])
    type_name = store.value(
        "SELECT t.name FROM artifacts a JOIN artifact_types t ON t.pk = a.type_pk WHERE a.pk = ?",
        artifact_pk,
    )
    is_known = store.value(
        "SELECT 1 FROM artifact_types WHERE project_pk = ? AND name = ?", project_pk, type_name
    )
    if not is_known and not allows_all_types(store, project_pk):
        raise GraphQLError(f"registry {project} takes no artifacts of type {type_name}")
    type_pk = ensure_type(scope, project_pk, type_name)
    return ensure_collection(scope, project_pk, type_pk, name, "portfolio")


def _next_version(store: Store, collection_pk: int) -> int:
    """Returns the number of a portfolio's next version; none is given twice."""
    return int(
        store.value(
            "SELECT coalesce(max(v) + 1, 0) FROM (SELECT versionIndex AS v FROM memberships"
            " WHERE collection_pk = ?1 UNION ALL SELECT versionIndex FROM unlinked"
            " WHERE collection_pk = ?1)",
            collection_pk,
        )
    )


def unlink_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Takes a version out of a portfolio.

    Raises:
        GraphQLError: It is not in it.
    """
    store = scope.store
    pk = artifact_pk_of(scope, values["artifactID"])
    collection_pk = _row_of(scope, values["artifactPortfolioID"], "portfolio")["pk"]
    with store.transaction():
        membership = store.row(
            "SELECT * FROM memberships WHERE collection_pk = ? AND artifact_pk = ?",
            collection_pk, pk,
        )  # fmt: skip
        if membership is None:
            raise GraphQLError("the artifact is not linked to this portfolio")
        was_latest = store.value(
            "SELECT 1 FROM aliases WHERE collection_pk = ? AND artifact_pk = ?"
            " AND alias = 'latest'",
            collection_pk, pk,
        )  # fmt: skip
        store.write(
            "DELETE FROM aliases WHERE collection_pk = ? AND artifact_pk = ?", collection_pk, pk
        )
        store.write("DELETE FROM memberships WHERE pk = ?", membership["pk"])
        store.write("INSERT INTO unlinked VALUES (?, ?)", collection_pk, membership["versionIndex"])
        newest = store.value(
            "SELECT artifact_pk FROM memberships WHERE collection_pk = ?"
            " ORDER BY versionIndex DESC LIMIT 1",
            collection_pk,
        )
        if was_latest and newest is not None:
            set_alias(scope, collection_pk, newest, "latest")
        touch(store, collection_pk)
    return {"success": True}


def _row_of(scope: Scope, collection_id: str, kind: str) -> sqlite3.Row:
    """Returns a collection by its id.

    Raises:
        GraphQLError: There is none of that kind, or the viewer may not see it.
    """
    parts = parse_id(collection_id)
    row = scope.store.row(
        "SELECT c.*, p.entity_pk FROM collections c JOIN projects p ON p.pk = c.project_pk"
        " WHERE c.pk = ? AND c.kind = ?",
        parts[-1] if parts[:1] == ["ArtifactCollection"] else None, kind,
    )  # fmt: skip
    if row is None or not scope.may_see(row["entity_pk"]):
        raise GraphQLError(f"{kind} {collection_id} not found")
    return row


def _id_of(values: dict[str, Any], kind: str) -> str:
    return str(values["artifactPortfolioID" if kind == "portfolio" else "artifactSequenceID"])


def update_collection(scope: Scope, values: dict[str, Any], *, kind: str) -> dict[str, Any]:
    """Renames a collection or describes it; null leaves a field as it is.

    Raises:
        GraphQLError: There is no such collection, or another has the name.
    """
    store = scope.store
    row = _row_of(scope, _id_of(values, kind), kind)
    name = values.get("name")
    is_taken = store.value(
        "SELECT 1 FROM collections WHERE project_pk = ? AND name = ? AND pk <> ?",
        row["project_pk"], name, row["pk"],
    )  # fmt: skip
    if is_taken:
        raise GraphQLError(f"artifact collection {name} already exists")
    with store.transaction():
        for column in ("name", "description"):
            if values.get(column) is not None:
                store.write(
                    f"UPDATE collections SET {column} = ? WHERE pk = ?",  # noqa: S608
                    values[column], row["pk"],
                )  # fmt: skip
        touch(store, row["pk"])
    return {"artifactCollection": CollectionNode.load(scope, row["pk"])}


def move_sequence(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Gives a sequence, and the versions in it, another type."""
    row = _row_of(scope, values["artifactSequenceID"], "sequence")
    store = scope.store
    with store.transaction():
        type_pk = ensure_type(scope, row["project_pk"], values["destinationArtifactTypeName"])
        store.write("UPDATE collections SET type_pk = ? WHERE pk = ?", type_pk, row["pk"])
        store.write("UPDATE artifacts SET type_pk = ? WHERE collection_pk = ?", type_pk, row["pk"])
        touch(store, row["pk"])
    return {"artifactCollection": CollectionNode.load(scope, row["pk"])}


def delete_collection(scope: Scope, values: dict[str, Any], *, kind: str) -> dict[str, Any]:
    """Deletes a collection: a portfolio with its links, a sequence with its versions."""
    row = _row_of(scope, _id_of(values, kind), kind)
    with scope.store.transaction():
        purge_collection(scope.store, row["pk"])
    deleted = {
        "__typename": f"Artifact{kind.title()}",
        "id": _id_of(values, kind),
        "name": row["name"],
        "state": "DELETED",
    }
    return {"artifactCollection": deleted}


def purge_collection(store: Store, collection_pk: int) -> None:
    """Forgets a collection, the links in it, and the versions whose home it is."""
    for table in ("aliases", "memberships", "collection_tags", "unlinked"):
        store.write(f"DELETE FROM {table} WHERE collection_pk = ?", collection_pk)  # noqa: S608
    versions = "(SELECT pk FROM artifacts WHERE collection_pk = ?)"
    for table in (
        "aliases", "memberships", "artifact_tags", "manifests", "artifact_files", "usage",
        "client_ids",
    ):  # fmt: skip
        store.write(f"DELETE FROM {table} WHERE artifact_pk IN {versions}", collection_pk)  # noqa: S608
    store.write("DELETE FROM artifacts WHERE collection_pk = ?", collection_pk)
    store.write("DELETE FROM collections WHERE pk = ?", collection_pk)


def edit_tags(scope: Scope, values: dict[str, Any], *, adds: bool) -> dict[str, Any]:
    """Adds tags to a collection, or takes them away.

    Raises:
        GraphQLError: There is no such collection.
    """
    store = scope.store
    row = store.row(
        "SELECT c.pk, p.entity_pk FROM collections c JOIN projects p ON p.pk = c.project_pk"
        " WHERE p.pk = ? AND c.name = ?",
        store.project_pk(values["entityName"], values["projectName"]),
        values["artifactCollectionName"],
    )
    if row is None or not scope.may_see(row["entity_pk"]):
        raise GraphQLError(f"collection {values['artifactCollectionName']} not found")
    names = [tag["tagName"] for tag in values["tags"]]
    if not 1 <= len(names) <= MAX_TAGS:
        raise GraphQLError(f"one mutation takes 1 to {MAX_TAGS} tags")
    statement = (
        "INSERT OR IGNORE INTO collection_tags VALUES (?, ?)"
        if adds
        else "DELETE FROM collection_tags WHERE collection_pk = ? AND name = ?"
    )
    with store.transaction():
        store.write_many(statement, [(row["pk"], name) for name in names])
        touch(store, row["pk"])
    if not adds:
        return {"success": True}
    return {"tags": [{"id": global_id("Tag", name), "name": name} for name in names]}
