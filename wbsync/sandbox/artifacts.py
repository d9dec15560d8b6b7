"""Artifacts: types, collections, versions, aliases, manifests, and how a version is logged."""

from __future__ import annotations

import base64
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.files import artifact_file
from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.store import global_id, load_json, now, parse_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_VERSION = re.compile(r"v(\d+)")


def load_artifacts(scope: Scope, keys: Sequence[int]) -> list[ArtifactNode]:
    """Returns versions by their keys."""
    rows = scope.store.rows(f"SELECT * FROM artifacts WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [ArtifactNode(scope, row) for row in by_key(rows, list(keys))]


def artifact_connection(scope: Scope, keys: Sequence[int], **page: Any) -> dict[str, Any]:
    """Returns a page of versions."""
    return connection(scope, keys, partial(load_artifacts, scope), **page)


def collection_connection(
    scope: Scope,
    sql: str,
    key: int,
    filters: str | None = None,
    order: str | None = None,
    **page: Any,
) -> dict[str, Any]:
    """Returns a page of collections."""
    from wbsync.sandbox.registries import filtered_collections

    rows = filtered_collections(scope, scope.store.rows(sql, key), filters, order)

    def load(keys: list[int]) -> list[Any]:
        return [CollectionNode.of(scope, row) for row in by_key(rows, keys)]

    return connection(scope, [row["pk"] for row in rows], load, **page)


def find_collection(scope: Scope, project_pk: int, name: str) -> CollectionNode | None:
    """Returns a collection by its name."""
    row = scope.store.row(
        "SELECT * FROM collections WHERE project_pk = ? AND name = ?", project_pk, name
    )
    return None if row is None else CollectionNode.of(scope, row)


class ArtifactTypeNode(Node):
    """`ArtifactType`."""

    typename = "ArtifactType"
    __slots__ = ()

    @classmethod
    def load(cls, scope: Scope, pk: int) -> ArtifactTypeNode:
        row = scope.store.row("SELECT * FROM artifact_types WHERE pk = ?", pk)
        assert row is not None
        return cls(scope, row)

    def id(self) -> str:
        return global_id("ArtifactType", self.row["pk"])

    def project(self) -> Any:
        from wbsync.sandbox.projects import ProjectNode

        return ProjectNode.load(self.scope, self.row["project_pk"])

    def artifactCollections(self, **page: Any) -> dict[str, Any]:
        return collection_connection(
            self.scope, "SELECT * FROM collections WHERE type_pk = ? ORDER BY pk",
            self.row["pk"], **page,
        )  # fmt: skip

    def artifactCollection(self, name: str) -> CollectionNode | None:
        found = find_collection(self.scope, self.row["project_pk"], name)
        return found if found and found.row["type_pk"] == self.row["pk"] else None


class CollectionNode(Node):
    """`ArtifactCollection`: a sequence of versions, or a portfolio of links."""

    typename = "ArtifactSequence"
    __slots__ = ()

    @classmethod
    def of(cls, scope: Scope, row: sqlite3.Row) -> CollectionNode:
        return (PortfolioNode if row["kind"] == "portfolio" else CollectionNode)(scope, row)

    @classmethod
    def load(cls, scope: Scope, pk: int) -> CollectionNode:
        row = scope.store.row("SELECT * FROM collections WHERE pk = ?", pk)
        assert row is not None
        return cls.of(scope, row)

    def id(self) -> str:
        return global_id("ArtifactCollection", self.row["pk"])

    def state(self) -> str:
        return "READY"

    def digestAlgorithm(self) -> str:
        return "MANIFEST_MD5"

    def project(self) -> Any:
        from wbsync.sandbox.projects import ProjectNode

        return ProjectNode.load(self.scope, self.row["project_pk"])

    def defaultArtifactType(self) -> ArtifactTypeNode:
        return ArtifactTypeNode.load(self.scope, self.row["type_pk"])

    def tags(self) -> dict[str, Any]:
        rows = self.store.rows(
            "SELECT name FROM collection_tags WHERE collection_pk = ? ORDER BY name",
            self.row["pk"],
        )
        return {"edges": [{"node": {"id": global_id("Tag", r[0]), "name": r[0]}} for r in rows]}

    def aliases(self, after: str | None = None, first: int | None = None) -> dict[str, Any]:
        rows = self.store.rows(
            "SELECT * FROM aliases WHERE collection_pk = ? ORDER BY pk", self.row["pk"]
        )

        def load(keys: list[int]) -> list[Any]:
            return [alias_object(self.scope, row) for row in by_key(rows, keys)]

        return connection(self.scope, [r["pk"] for r in rows], load, first=first, after=after)

    def artifacts(
        self,
        after: str | None = None,
        first: int | None = None,
        filters: str | None = None,
        order: str | None = None,
    ) -> dict[str, Any]:
        wanted = json.loads(filters) if filters else {}
        state = wanted.get("state", "COMMITTED")
        direction = "ASC" if (order or "").startswith("+") else "DESC"
        members = self.store.rows(
            "SELECT m.artifact_pk, m.versionIndex FROM memberships m"  # noqa: S608
            " JOIN artifacts a ON a.pk = m.artifact_pk WHERE m.collection_pk = ? AND a.state = ?"
            f" ORDER BY m.versionIndex {direction}",
            self.row["pk"], state,
        )  # fmt: skip
        versions = {row[0]: row[1] for row in members}
        return artifact_connection(
            self.scope,
            list(versions),
            first=first,
            after=after,
            extra=lambda node: {"version": f"v{versions[node.row['pk']]}"},
        )

    def artifactMembership(self, aliasName: str) -> MembershipNode | None:
        version = _VERSION.fullmatch(aliasName)
        row = self.store.row(
            "SELECT m.* FROM aliases l JOIN memberships m ON m.collection_pk = l.collection_pk"
            " AND m.artifact_pk = l.artifact_pk WHERE l.collection_pk = ? AND l.alias = ?",
            self.row["pk"], aliasName,
        )  # fmt: skip
        if row is None and version:
            row = self.store.row(
                "SELECT m.* FROM memberships m JOIN artifacts a ON a.pk = m.artifact_pk"
                " WHERE m.collection_pk = ? AND m.versionIndex = ? AND a.state = 'COMMITTED'",
                self.row["pk"], int(version[1]),
            )  # fmt: skip
        return None if row is None else MembershipNode(self.scope, row)

    def latestArtifact(self) -> ArtifactNode | None:
        membership = self.artifactMembership("latest")
        return None if membership is None else membership.artifact()


class PortfolioNode(CollectionNode):
    """`ArtifactPortfolio`."""

    typename = "ArtifactPortfolio"
    __slots__ = ()


class MembershipNode(Node):
    """`ArtifactCollectionMembership`."""

    typename = "ArtifactCollectionMembership"
    __slots__ = ()

    def id(self) -> str:
        return global_id("ArtifactCollectionMembership", self.row["pk"])

    def aliases(self) -> list[Any]:
        return [
            alias_object(self.scope, row)
            for row in self.store.rows(
                "SELECT * FROM aliases WHERE collection_pk = ? AND artifact_pk = ? ORDER BY pk",
                self.row["collection_pk"], self.row["artifact_pk"],
            )
        ]  # fmt: skip

    def artifactCollection(self) -> CollectionNode:
        return CollectionNode.load(self.scope, self.row["collection_pk"])

    def artifact(self) -> ArtifactNode:
        return load_artifacts(self.scope, [self.row["artifact_pk"]])[0]

    def files(self, **page: Any) -> dict[str, Any]:
        return self.artifact().files(**page)


def alias_object(scope: Scope, row: sqlite3.Row) -> dict[str, Any]:
    """Returns `ArtifactAlias`."""
    return {
        "id": global_id("ArtifactAlias", row["pk"]),
        "alias": row["alias"],
        "artifactCollection": lambda: CollectionNode.load(scope, row["collection_pk"]),
    }


class ArtifactNode(Node):
    """`Artifact`: one version."""

    typename = "Artifact"
    __slots__ = ()

    def id(self) -> str:
        return global_id("Artifact", self.row["pk"])

    def artifactSequence(self) -> CollectionNode:
        return CollectionNode.load(self.scope, self.row["collection_pk"])

    def artifactType(self) -> ArtifactTypeNode:
        return ArtifactTypeNode.load(self.scope, self.row["type_pk"])

    def ttlDurationSeconds(self) -> int:
        seconds = self.row["ttlDurationSeconds"]
        return -1 if seconds is None else int(seconds)

    def ttlIsInherited(self) -> bool:
        return self.row["ttlDurationSeconds"] is None

    def size(self) -> int:
        return self.row["size"] or 0

    def tags(self) -> list[dict[str, str]]:
        rows = self.store.rows(
            "SELECT name FROM artifact_tags WHERE artifact_pk = ? ORDER BY name", self.row["pk"]
        )
        return [{"id": global_id("Tag", row[0]), "name": row[0]} for row in rows]

    def aliases(self, artifactCollectionName: str | None = None) -> list[Any]:
        return [
            alias_object(self.scope, row)
            for row in self.store.rows(
                "SELECT l.* FROM aliases l JOIN collections c ON c.pk = l.collection_pk"
                " WHERE l.artifact_pk = ?1 AND (?2 IS NULL OR c.name = ?2) ORDER BY l.pk",
                self.row["pk"], artifactCollectionName,
            )
        ]  # fmt: skip

    def artifactMemberships(self) -> dict[str, Any]:
        rows = self.store.rows(
            "SELECT * FROM memberships WHERE artifact_pk = ? ORDER BY pk", self.row["pk"]
        )
        edges = [{"node": MembershipNode(self.scope, row)} for row in rows]
        return {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}

    def usedBy(self) -> dict[str, Any]:
        from wbsync.sandbox.runs import run_connection

        keys = [
            row[0]
            for row in self.store.rows(
                "SELECT run_pk FROM usage WHERE artifact_pk = ? AND direction = 'input'"
                " ORDER BY run_pk",
                self.row["pk"],
            )
        ]
        return run_connection(self.scope, keys, first=len(keys))

    def createdBy(self) -> Any:
        from wbsync.sandbox.accounts import UserNode
        from wbsync.sandbox.runs import load_runs

        run_pk = self.row["run_pk"]
        if run_pk is not None and self.store.value("SELECT 1 FROM runs WHERE pk = ?", run_pk):
            return load_runs(self.scope, [run_pk])[0]
        return UserNode.load(self.scope, self.row["user_pk"])

    def currentManifest(self) -> Any:
        row = self.store.row(
            "SELECT m.* FROM manifests m JOIN blobs b ON b.id = m.blob WHERE m.artifact_pk = ?"
            " ORDER BY m.pk DESC LIMIT 1",
            self.row["pk"],
        )
        return None if row is None else manifest_object(self.scope, row)

    def contents(self) -> dict[str, dict[str, Any]]:
        """Returns path to entry of the manifest."""
        return read_contents(self.scope, self.row["pk"])

    def _file(self, path: str, entry: dict[str, Any]) -> dict[str, Any]:
        if "ref" in entry:
            # The SDK goes through this list to download, references and all.
            file = artifact_file(self.scope, path, None, entry.get("size"), entry["digest"])
            return {**file, "url": entry["ref"], "directUrl": entry["ref"]}
        blob = find_file_blob(self.scope, self.row["pk"], path, entry)
        return artifact_file(self.scope, path, blob, entry.get("size"), entry.get("digest"))

    def files(
        self, names: list[str] | None = None, after: str | None = None, first: int | None = None
    ) -> dict[str, Any]:
        contents = self.contents()
        paths = [p for p in sorted(contents) if not names or p in names]
        return connection(
            self.scope,
            paths,
            lambda keys: [self._file(p, contents[p]) for p in keys],
            first=first,
            after=after,
        )

    def filesByManifestEntries(
        self, entries: list[dict[str, Any]], first: int | None = None, **_layout: Any
    ) -> dict[str, Any]:
        nodes = [self._file(e["name"], e) for e in entries]
        return connection(
            self.scope,
            range(len(nodes)),
            lambda keys: [nodes[k] for k in keys],
            first=len(nodes) if first is None else first,
        )


def manifest_object(scope: Scope, row: sqlite3.Row) -> dict[str, Any]:
    """Returns `ArtifactManifest`, whose file can be uploaded or downloaded."""
    name = "wandb_manifest.json"
    return {
        "id": global_id("ArtifactManifest", row["pk"]),
        "digest": row["digest"],
        "file": {
            **artifact_file(scope, name, row["blob"]),
            "uploadUrl": scope.signed_url(row["blob"], "put"),
            "uploadHeaders": [],
        },
    }


def read_contents(scope: Scope, artifact_pk: int) -> dict[str, dict[str, Any]]:
    """Returns path to entry of a version's manifest, {} where it has none yet."""
    blob = scope.store.value(
        "SELECT m.blob FROM manifests m JOIN blobs b ON b.id = m.blob WHERE m.artifact_pk = ?"
        " ORDER BY m.pk DESC LIMIT 1",
        artifact_pk,
    )
    if blob is None:
        return {}
    contents: dict[str, dict[str, Any]] = json.loads(scope.store.read_blob(blob))["contents"]
    return contents


def find_file_blob(scope: Scope, artifact_pk: int, path: str, entry: dict[str, Any]) -> str | None:
    """Returns where the content of a manifest's entry lies, None for references."""
    store = scope.store
    birth = parse_id(entry.get("birthArtifactID") or "")
    for pk in (artifact_pk, birth[-1] if birth else None):
        blob: str | None = store.value(
            "SELECT f.blob FROM artifact_files f JOIN blobs b ON b.id = f.blob"
            " WHERE f.artifact_pk = ? AND f.name = ?",
            pk, path,
        )  # fmt: skip
        if blob is not None:
            return blob
    found: str | None = store.value(
        "SELECT f.blob FROM artifact_files f JOIN blobs b ON b.id = f.blob WHERE f.md5 = ?",
        entry.get("digest"),
    )
    return found


def artifact_pk_of(scope: Scope, artifact_id: str) -> int:
    """Returns the key of a version by its id.

    Raises:
        GraphQLError: There is none, or the viewer may not see it.
    """
    parts = parse_id(artifact_id)
    row = scope.store.row(
        "SELECT a.pk, p.entity_pk FROM artifacts a JOIN collections c ON c.pk = a.collection_pk"
        " JOIN projects p ON p.pk = c.project_pk WHERE a.pk = ?",
        parts[-1] if parts[:1] == ["Artifact"] else None,
    )
    if row is None or not scope.may_see(row["entity_pk"]):
        raise GraphQLError(f"artifact {artifact_id} not found")
    return int(row["pk"])


def create_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Begins a version, or gives the one that has the same content already.

    Raises:
        GraphQLError: The entity is not there, or the name belongs to another type.
    """
    store = scope.store
    entity, project = values["entityName"], values["projectName"]
    entity_pk = store.value("SELECT pk FROM entities WHERE name = ?", entity)
    if entity_pk is None or not scope.may_see(entity_pk):
        raise GraphQLError(f"entity {entity} not found or permission denied")
    names = values.get("artifactCollectionNames") or []
    name = values.get("artifactCollectionName") or (names[0] if names else None)
    if not name:
        raise GraphQLError("artifactCollectionName is missing")
    with store.transaction():
        project_pk = store.ensure_project(entity, project, scope.viewer["pk"])
        type_pk = ensure_type(scope, project_pk, values["artifactTypeName"])
        collection_pk = ensure_collection(scope, project_pk, type_pk, name, "sequence")
        run_pk = store.run_pk(entity, project, values.get("runName") or "")
        aliases = [a["alias"] for a in values.get("aliases") or []]
        pk = None
        if values.get("enableDigestDeduplication"):
            pk = store.value(
                "SELECT pk FROM artifacts WHERE collection_pk = ? AND digest = ?"
                " AND state = 'COMMITTED'",
                collection_pk, values["digest"],
            )  # fmt: skip
        if pk is not None:
            for alias in [*aliases, "latest"]:
                set_alias(scope, collection_pk, pk, alias)
        else:
            pk = store.write(
                "INSERT INTO artifacts(collection_pk, type_pk, digest, digestAlgorithm,"
                " description, metadata, state, size, fileCount, historyStep, commitHash,"
                " ttlDurationSeconds, createdAt, updatedAt, run_pk, user_pk, wanted_aliases)"
                " VALUES (?, ?, ?, ?, ?, ?, 'PENDING', 0, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
                collection_pk, type_pk, values["digest"],
                values.get("digestAlgorithm") or "MANIFEST_MD5", values.get("description"),
                values.get("metadata"), values.get("historyStep"), values["digest"][:20],
                values.get("ttlDurationSeconds"), now(), now(), run_pk, scope.viewer["pk"],
                json.dumps(aliases),
            )  # fmt: skip
            for tag in values.get("tags") or []:
                store.write("INSERT OR IGNORE INTO artifact_tags VALUES (?, ?)", pk, tag["tagName"])
        if run_pk is not None:
            store.write("INSERT OR IGNORE INTO usage VALUES (?, 'output', ?)", run_pk, pk)
        if values.get("clientID"):
            store.write("INSERT OR REPLACE INTO client_ids VALUES (?, ?)", values["clientID"], pk)
    return {"artifact": load_artifacts(scope, [pk])[0]}


def ensure_type(scope: Scope, project_pk: int, name: str) -> int:
    """Returns the key of an artifact type, which is made where it is missing."""
    store = scope.store
    store.write(
        "INSERT OR IGNORE INTO artifact_types(project_pk, name, createdAt) VALUES (?, ?, ?)",
        project_pk, name, now(),
    )  # fmt: skip
    return int(
        store.value(
            "SELECT pk FROM artifact_types WHERE project_pk = ? AND name = ?", project_pk, name
        )
    )


def ensure_collection(scope: Scope, project_pk: int, type_pk: int, name: str, kind: str) -> int:
    """Returns the key of a collection, which is made where it is missing.

    Raises:
        GraphQLError: It holds artifacts of another type.
    """
    store = scope.store
    store.write(
        "INSERT OR IGNORE INTO collections(project_pk, type_pk, name, kind, createdAt, updatedAt)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        project_pk, type_pk, name, kind, now(), now(),
    )  # fmt: skip
    row = store.row("SELECT * FROM collections WHERE project_pk = ? AND name = ?", project_pk, name)
    assert row is not None
    if row["type_pk"] != type_pk:
        raise GraphQLError(f"artifact collection {name} already exists with another type")
    return int(row["pk"])


def set_alias(scope: Scope, collection_pk: int, artifact_pk: int, alias: str) -> None:
    """Gives a version an alias, taking it from the one that had it."""
    scope.store.write(
        "INSERT INTO aliases(collection_pk, artifact_pk, alias) VALUES (?, ?, ?)"
        " ON CONFLICT(collection_pk, alias) DO UPDATE SET artifact_pk = excluded.artifact_pk",
        collection_pk, artifact_pk, alias,
    )  # fmt: skip


def create_manifest(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes a manifest, whose file is then uploaded."""
    pk = artifact_pk_of(scope, values["artifactID"])
    store = scope.store
    manifest_pk = store.write(
        "INSERT INTO manifests(artifact_pk, digest, blob) VALUES (?, ?, ?)",
        pk, values["digest"], store.new_blob(),
    )  # fmt: skip
    return _manifest_payload(scope, manifest_pk)


def update_manifest(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Gives a manifest another digest, and a new file.

    Raises:
        GraphQLError: There is no such manifest.
    """
    parts = parse_id(values["artifactManifestID"])
    pk = int(parts[-1]) if parts[:1] == ["ArtifactManifest"] else None
    if pk is None:
        raise GraphQLError("manifest not found")
    scope.store.write("UPDATE manifests SET digest = ? WHERE pk = ?", values.get("digest"), pk)
    return _manifest_payload(scope, pk)


def _manifest_payload(scope: Scope, pk: int) -> dict[str, Any]:
    row = scope.store.row("SELECT * FROM manifests WHERE pk = ?", pk)
    if row is None:
        raise GraphQLError("manifest not found")
    return {"artifactManifest": manifest_object(scope, row)}


def create_files(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Takes the names of a version's files; returns where to upload each, if it must be."""
    store = scope.store
    nodes = []
    with store.transaction():
        for spec in values["artifactFiles"]:
            pk = artifact_pk_of(scope, spec["artifactID"])
            blob = store.value(
                "SELECT f.blob FROM artifact_files f JOIN blobs b ON b.id = f.blob"
                " JOIN artifacts a ON a.pk = f.artifact_pk"
                " WHERE f.md5 = ? AND a.collection_pk ="
                " (SELECT collection_pk FROM artifacts WHERE pk = ?)",
                spec["md5"], pk,
            )  # fmt: skip
            url = None
            if blob is None:
                blob = store.new_blob()
                url = scope.signed_url(blob, "put")
            store.write(
                "INSERT OR REPLACE INTO artifact_files VALUES (?, ?, ?, ?)",
                pk, spec["name"], spec["md5"], blob,
            )  # fmt: skip
            nodes.append(
                artifact_file(scope, spec["name"], blob)
                | {
                    "uploadUrl": url,
                    "uploadHeaders": [],
                    "artifact": load_artifacts(scope, [pk])[0],
                }
            )
    return {
        "files": connection(
            scope, range(len(nodes)), lambda keys: [nodes[k] for k in keys], first=len(nodes)
        )
    }


def commit_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes a version count: it gets its number, its aliases, and `latest`."""
    store = scope.store
    pk = artifact_pk_of(scope, values["artifactID"])
    with store.transaction():
        row = store.row("SELECT * FROM artifacts WHERE pk = ?", pk)
        assert row is not None
        if row["state"] != "COMMITTED":
            contents = read_contents(scope, pk)
            version = store.value(
                "SELECT coalesce(max(versionIndex) + 1, 0) FROM memberships"
                " WHERE collection_pk = ?",
                row["collection_pk"],
            )
            store.write(
                "UPDATE artifacts SET state = 'COMMITTED', versionIndex = ?, size = ?,"
                " fileCount = ?, updatedAt = ? WHERE pk = ?",
                version, sum(e.get("size") or 0 for e in contents.values()), len(contents),
                now(), pk,
            )  # fmt: skip
            add_membership(scope, row["collection_pk"], pk, version)
            for alias in [*load_json(row["wanted_aliases"], []), "latest"]:
                set_alias(scope, row["collection_pk"], pk, alias)
            store.write(
                "UPDATE collections SET updatedAt = ? WHERE pk = ?", now(), row["collection_pk"]
            )
    return {"artifact": load_artifacts(scope, [pk])[0]}


def add_membership(scope: Scope, collection_pk: int, artifact_pk: int, version: int) -> int:
    """Puts a version into a collection."""
    return scope.store.write(
        "INSERT OR IGNORE INTO memberships(collection_pk, artifact_pk, versionIndex, createdAt)"
        " VALUES (?, ?, ?, ?)",
        collection_pk, artifact_pk, version, now(),
    )  # fmt: skip


def update_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Edits a version's description, metadata and tags."""
    store = scope.store
    pk = artifact_pk_of(scope, values["artifactID"])
    with store.transaction():
        for column in ("description", "metadata", "ttlDurationSeconds"):
            if values.get(column) is not None:
                store.write(
                    f"UPDATE artifacts SET {column} = ? WHERE pk = ?",  # noqa: S608
                    values[column],
                    pk,
                )
        for tag in values.get("tagsToAdd") or []:
            store.write("INSERT OR IGNORE INTO artifact_tags VALUES (?, ?)", pk, tag["tagName"])
        for tag in values.get("tagsToDelete") or []:
            store.write(
                "DELETE FROM artifact_tags WHERE artifact_pk = ? AND name = ?", pk, tag["tagName"]
            )
        collection_pk = store.value("SELECT collection_pk FROM artifacts WHERE pk = ?", pk)
        for alias in values.get("aliases") or []:
            set_alias(scope, collection_pk, pk, alias["alias"])
        store.write("UPDATE artifacts SET updatedAt = ? WHERE pk = ?", now(), pk)
    return {"artifact": load_artifacts(scope, [pk])[0]}


def use_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Notes that a run uses a version.

    Raises:
        GraphQLError: There is no such run.
    """
    pk = artifact_pk_of(scope, values["artifactID"])
    run_pk = scope.store.run_pk(values["entityName"], values["projectName"], values["runName"])
    if run_pk is None:
        raise GraphQLError(f"run {values['runName']} not found")
    scope.store.write("INSERT OR IGNORE INTO usage VALUES (?, 'input', ?)", run_pk, pk)
    return {"artifact": load_artifacts(scope, [pk])[0]}


def edit_aliases(scope: Scope, values: dict[str, Any], *, adds: bool) -> dict[str, Any]:
    """Adds or removes aliases of a version.

    Raises:
        GraphQLError: A collection is not there.
    """
    store = scope.store
    pk = artifact_pk_of(scope, values["artifactID"])
    with store.transaction():
        for alias in values["aliases"]:
            project_pk = store.project_pk(
                alias.get("entityName") or "", alias.get("projectName") or ""
            )
            collection_pk = store.value(
                "SELECT pk FROM collections WHERE project_pk = ? AND name = ?",
                project_pk, alias["artifactCollectionName"],
            )  # fmt: skip
            if collection_pk is None:
                raise GraphQLError(f"collection {alias['artifactCollectionName']} not found")
            if adds:
                set_alias(scope, collection_pk, pk, alias["alias"])
            else:
                store.write(
                    "DELETE FROM aliases WHERE collection_pk = ? AND artifact_pk = ?"
                    " AND alias = ?",
                    collection_pk, pk, alias["alias"],
                )  # fmt: skip
    return {"success": True}


def delete_artifact(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Deletes a version; refuses one with aliases unless told to take them along.

    Raises:
        GraphQLError: It has aliases.
    """
    store = scope.store
    pk = artifact_pk_of(scope, values["artifactID"])
    with store.transaction():
        is_aliased = store.value("SELECT 1 FROM aliases WHERE artifact_pk = ?", pk)
        if is_aliased and not values.get("deleteAliases"):
            raise GraphQLError("artifact has aliases; set deleteAliases to delete it")
        store.write("DELETE FROM aliases WHERE artifact_pk = ?", pk)
        store.write("UPDATE artifacts SET state = 'DELETED', updatedAt = ? WHERE pk = ?", now(), pk)
    return {"artifact": load_artifacts(scope, [pk])[0]}


def find_download(scope: Scope, parts: list[str]) -> str | None:
    """Returns the blob behind a path of W&B's artifact file addresses.

    Args:
        scope: The request's.
        parts: Path segments after `/artifacts/` or `/artifactsV2/`.
    """
    digests = [
        base64.b64encode(bytes.fromhex(part)).decode()
        for part in parts
        if re.fullmatch(r"[0-9a-f]{32}", part)
    ]
    blob: str | None = scope.store.value(
        "SELECT f.blob FROM artifact_files f JOIN blobs b ON b.id = f.blob WHERE f.md5 = ?",
        digests[-1] if digests else None,
    )
    return blob
