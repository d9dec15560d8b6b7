"""Projects as GraphQL objects."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.runs import list_runs, load_runs, run_connection
from wbsync.sandbox.store import global_id, now, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_projects(scope: Scope, keys: Sequence[int]) -> list[ProjectNode]:
    """Returns projects by their keys."""
    rows = scope.store.rows(f"SELECT * FROM projects WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [ProjectNode(scope, row) for row in by_key(rows, list(keys))]


def project_connection(scope: Scope, entity_pk: int | None, **page: Any) -> dict[str, Any] | None:
    """Returns a page of an entity's projects, None where the viewer may not see the entity."""
    if entity_pk is None or not scope.may_see(entity_pk):
        return None
    keys = [
        row[0]
        for row in scope.store.rows(
            "SELECT pk FROM projects WHERE entity_pk = ? ORDER BY createdAt DESC, pk DESC",
            entity_pk,
        )
    ]
    return connection(scope, keys, partial(load_projects, scope), **page)


def find_project(scope: Scope, entity: str | None, name: str | None) -> ProjectNode | None:
    """Returns a project, None where there is none or the viewer may not see it."""
    pk = scope.store.project_pk(entity or scope.viewer["username"], name or "uncategorized")
    if pk is None:
        return None
    from wbsync.sandbox.registries import may_see_project

    node = load_projects(scope, [pk])[0]
    return node if may_see_project(scope, node.row) else None


class ProjectNode(Node):
    """`Project`."""

    typename = "Project"
    __slots__ = ()

    @classmethod
    def load(cls, scope: Scope, pk: int) -> ProjectNode:
        return load_projects(scope, [pk])[0]

    def id(self) -> str:
        return global_id("Project", "v1", self.row["name"], self.entityName())

    def internalId(self) -> str:
        return global_id("ProjectInternalId", self.row["pk"])

    def entityName(self) -> str:
        return str(
            self.store.value("SELECT name FROM entities WHERE pk = ?", self.row["entity_pk"])
        )

    def entity(self) -> Any:
        from wbsync.sandbox.accounts import load_entities

        return load_entities(self.scope, [self.row["entity_pk"]])[0]

    def isBenchmark(self) -> bool:
        return False

    def readOnly(self) -> bool:
        from wbsync.sandbox.registries import may_edit_project

        return not may_edit_project(self.scope, self.row)

    def tags(self) -> list[str]:
        return []

    def user(self) -> Any:
        from wbsync.sandbox.accounts import UserNode

        return UserNode.load(self.scope, self.row["user_pk"])

    def runCount(self, filters: str | None = None) -> int:
        return len(list_runs(self.scope, self.row["pk"], filters, None))

    def totalRuns(self) -> int:
        return self.runCount()

    def totalSweeps(self) -> int:
        return int(
            self.store.value("SELECT count(*) FROM sweeps WHERE project_pk = ?", self.row["pk"])
        )

    def runs(
        self,
        filters: str | None = None,
        order: str | None = None,
        names: list[str] | None = None,
        **page: Any,
    ) -> dict[str, Any]:
        keys = list_runs(self.scope, self.row["pk"], filters, order)
        if names:
            keys = [k for k in keys if load_runs(self.scope, [k])[0].row["name"] in names]
        return run_connection(self.scope, keys, **page)

    def run(self, name: str) -> Any:
        pk = self.store.value(
            "SELECT pk FROM runs WHERE project_pk = ? AND name = ?", self.row["pk"], name
        )
        return None if pk is None else load_runs(self.scope, [pk])[0]

    def bucket(self, name: str, missingOk: bool | None = None) -> Any:
        found = self.run(name)
        if found is None and not missingOk:
            raise GraphQLError(f"run {name} not found")
        return found

    def sweeps(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> dict[str, Any]:
        del filters, order
        from wbsync.sandbox.sweeps import load_sweeps

        keys = [
            row[0]
            for row in self.store.rows(
                "SELECT pk FROM sweeps WHERE project_pk = ? ORDER BY pk DESC", self.row["pk"]
            )
        ]
        return connection(
            self.scope, keys, partial(load_sweeps, self.scope), first=first, after=after
        )

    def sweep(self, sweepName: str) -> Any:
        from wbsync.sandbox.sweeps import SweepNode

        pk = self.store.value(
            "SELECT pk FROM sweeps WHERE project_pk = ? AND name = ?", self.row["pk"], sweepName
        )
        return SweepNode.load(self.scope, pk)

    def artifactTypes(
        self, after: str | None = None, first: int | None = None, includeAll: bool | None = None
    ) -> dict[str, Any]:
        del includeAll
        from wbsync.sandbox.artifacts import ArtifactTypeNode

        keys = [
            row[0]
            for row in self.store.rows(
                "SELECT pk FROM artifact_types WHERE project_pk = ? ORDER BY pk", self.row["pk"]
            )
        ]

        def load(chosen: list[int]) -> list[Any]:
            return [ArtifactTypeNode.load(self.scope, pk) for pk in chosen]

        return connection(self.scope, keys, load, first=first, after=after)

    def artifactType(self, name: str) -> Any:
        from wbsync.sandbox.artifacts import ArtifactTypeNode

        pk = self.store.value(
            "SELECT pk FROM artifact_types WHERE project_pk = ? AND name = ?",
            self.row["pk"], name,
        )  # fmt: skip
        return None if pk is None else ArtifactTypeNode.load(self.scope, pk)

    def artifactCollections(self, **page: Any) -> dict[str, Any]:
        from wbsync.sandbox.artifacts import collection_connection

        return collection_connection(
            self.scope, "SELECT * FROM collections WHERE project_pk = ? ORDER BY pk",
            self.row["pk"], **page,
        )  # fmt: skip

    def artifactCollection(self, name: str) -> Any:
        from wbsync.sandbox.artifacts import find_collection

        return find_collection(self.scope, self.row["pk"], name)

    def artifactCollectionMembership(self, name: str) -> Any:
        from wbsync.sandbox.artifacts import find_collection

        collection, _, alias = name.partition(":")
        found = find_collection(self.scope, self.row["pk"], collection)
        return None if found is None else found.artifactMembership(alias or "latest")

    def views(self) -> str:
        return "{}"

    def allViews(
        self,
        viewType: str | None = None,
        viewName: str | None = None,
        userName: str | None = None,
        **page: Any,
    ) -> dict[str, Any]:
        from wbsync.sandbox.views import view_connection

        return view_connection(self.scope, self.row["pk"], viewType, viewName, userName, **page)

    def triggers(self) -> list[Any]:
        from wbsync.sandbox.automations import triggers_of_project

        return triggers_of_project(self.scope, self.row["pk"])

    def allowAllArtifactTypesInRegistry(self) -> bool:
        from wbsync.sandbox.registries import allows_all_types

        return allows_all_types(self.store, self.row["pk"])

    def artifact(self, name: str) -> Any:
        membership = self.artifactCollectionMembership(name)
        return None if membership is None else membership.artifact()


def upsert_model(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes or edits a project, or a registry, which is one of an organisation's entity.

    Raises:
        GraphQLError: There is no such entity, or the viewer does not belong to it.
    """
    from wbsync.sandbox.artifacts import ensure_type

    store = scope.store
    parts = parse_id(values.get("id") or "")
    entity = parts[-1] if parts else values.get("entityName") or scope.viewer["username"]
    name = ":".join(parts[2:-1]) if parts else values.get("name")
    entity_pk = store.value("SELECT pk FROM entities WHERE name = ?", entity)
    if entity_pk is None or not scope.may_see(entity_pk) or not name:
        raise GraphQLError(f"entity {entity} not found or permission denied")
    inserted = store.project_pk(entity, name) is None
    with store.transaction():
        pk = store.ensure_project(entity, name, scope.viewer["pk"])
        if parts and values.get("name"):
            store.write("UPDATE projects SET name = ? WHERE pk = ?", values["name"], pk)
        for column in ("description", "access"):
            if values.get(column) is not None:
                store.write(
                    f"UPDATE projects SET {column} = ?, updatedAt = ? WHERE pk = ?",  # noqa: S608
                    values[column], now(), pk,
                )  # fmt: skip
        if values.get("allowAllArtifactTypesInRegistry") is not None:
            store.write(
                "INSERT OR REPLACE INTO registries VALUES (?, ?)",
                pk, values["allowAllArtifactTypesInRegistry"],
            )  # fmt: skip
        for artifact_type in values.get("artifactTypes") or []:
            ensure_type(scope, pk, artifact_type["name"])
    node = ProjectNode.load(scope, pk)
    return {"model": node, "project": node, "inserted": inserted}


def rename_project(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Gives a project another name.

    Raises:
        GraphQLError: There is no such project, or another has the name.
    """
    store = scope.store
    found = find_project(scope, values["entityName"], values["oldProjectName"])
    if found is None:
        raise GraphQLError(f"project {values['oldProjectName']} not found")
    if store.project_pk(values["entityName"], values["newProjectName"]) is not None:
        raise GraphQLError(f"project {values['newProjectName']} already exists")
    store.write(
        "UPDATE projects SET name = ?, updatedAt = ? WHERE pk = ?",
        values["newProjectName"], now(), found.row["pk"],
    )  # fmt: skip
    node = ProjectNode.load(scope, found.row["pk"])
    return {"model": node, "project": node, "inserted": False}


def delete_project(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Deletes a project and all that belongs to it.

    Raises:
        GraphQLError: There is no such project.
    """
    from wbsync.sandbox.collection_edits import purge_collection

    store = scope.store
    parts = parse_id(values["id"])
    found = find_project(scope, parts[-1], ":".join(parts[2:-1])) if len(parts) >= 4 else None
    if found is None:
        raise GraphQLError("project not found")
    pk = found.row["pk"]
    with store.transaction():
        for (run_pk,) in store.rows("SELECT pk FROM runs WHERE project_pk = ?", pk):
            store.delete_run(run_pk)
        for (collection_pk,) in store.rows("SELECT pk FROM collections WHERE project_pk = ?", pk):
            purge_collection(store, collection_pk)
        for table in ("sweeps", "artifact_types", "registries", "views"):
            store.write(f"DELETE FROM {table} WHERE project_pk = ?", pk)  # noqa: S608
        store.write("DELETE FROM projects WHERE pk = ?", pk)
    return {"success": True}
