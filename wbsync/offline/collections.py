"""Collections and types of artifacts. Source: wandb/apis/public/artifacts.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from wbsync.extract.values import parse_json
from wbsync.model import REGISTRY_PREFIX
from wbsync.offline.artifacts import Artifact, read_versions
from wbsync.offline.listing import Held, refuse_cursor
from wbsync.offline.reader import not_held
from wbsync.offline.records import Record, instant, refuse
from wbsync.writeback.assignments import texts
from wbsync.writeback.objects import changes_of_tags, changes_of_text
from wbsync.writeback.operations import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wbsync.offline.reader import Reader


class Artifacts(Held[Artifact]):
    """The versions of a collection, the newest first."""

    def __init__(
        self,
        reader: Reader,
        entity: str,
        project: str,
        collection_name: str,
        type: str,
        order: str | None = None,
        tags: str | Sequence[str] | None = None,
    ) -> None:
        """Takes what is asked for.

        Args:
            reader: Asks the warehouse.
            entity: Entity that owns the project.
            project: Project.
            collection_name: Collection.
            type: Artifact type.
            order: An order string.
            tags: Only versions that have all of these.
        """
        self._reader = reader
        self.entity = entity
        self.project = project
        self.collection_name = collection_name
        self.type = type
        self.order = order
        self.filters = {"state": "COMMITTED"}
        self.tags = [tags] if isinstance(tags, str) else list(tags or [])

    def _load(self) -> list[Artifact]:
        find_collection(self._reader, self.entity, self.project, self.collection_name, self.type)
        scope = {
            "entity": self.entity, "project": self.project, "collection": self.collection_name,
        }  # fmt: skip
        order = self.order or ["-versionIndex"]
        found = self._reader.select(
            "artifacts", scope, self.filters, order, ("artifact_id",)
        ).column(0).to_pylist()  # fmt: skip
        rows = read_versions(self._reader, found)
        versions = [Artifact(self._reader, rows[i]) for i in found]
        return [v for v in versions if set(self.tags) <= set(v.tags)]

    def __repr__(self) -> str:
        return f"<Artifacts {self.entity}/{self.project}/{self.collection_name}>"


class ArtifactCollection(Record):
    """A collection: the versions of one artifact."""

    _refused = frozenset({"delete", "change_type"})
    _unheld = frozenset({"project_internal_id"})
    _editable: ClassVar[Mapping[str, str]] = {"tags": "tags", "description": "description"}

    def __init__(self, reader: Reader, row: dict[str, Any]) -> None:
        """Takes a row of artifact_collections, or one of registry_collections made like it."""
        super().__init__(
            {
                "id": row["collection_id"],
                "entity": row["entity"],
                "project": row["project"],
                "name": row["collection"],
                "type": row["type_name"],
                "description": row["description"],
                "tags": parse_json(row["tags"]) or [],
                "createdAt": instant(row["created_at"]),
                "updatedAt": instant(row["updated_at"]),
                "organization": row.get("organization"),
            }
        )
        self._reader = reader
        self._row = row

    @property
    def project_id(self) -> str | None:
        """W&B's id of the project."""
        row = self._row
        if not row.get("organization"):
            row = self._reader.project(self.entity, self.project)
        found: str | None = row["project_id"]
        return found

    @property
    def aliases(self) -> list[str]:
        """Aliases of all versions."""
        if self._row.get("organization"):
            return sorted({a for version in self.artifacts() for a in version.aliases})
        rows = self._reader.rows(
            "SELECT alias FROM artifact_aliases WHERE entity = $entity AND project = $project"
            " AND collection = $collection ORDER BY alias",
            entity=self.entity, project=self.project, collection=self.name,
        )  # fmt: skip
        return [row["alias"] for row in rows]

    def artifacts(self, per_page: int = 50, start: str | None = None) -> Artifacts | Held[Artifact]:
        """Returns the versions, the newest first."""
        del per_page
        refuse_cursor(start)
        if self._row.get("organization"):
            from wbsync.offline.registries import LinkedVersions

            return LinkedVersions(self._reader, [self._row["collection_id"]])
        return Artifacts(self._reader, self.entity, self.project, self.name, self.type)

    def save(self) -> None:
        """Queues what was changed in tags and description.

        Raises:
            EditError: W&B would not take it; nothing is queued.
            ReadOnlyError: It is a registry's.
        """
        row, attrs = self._row, self._attrs
        if row.get("organization"):
            refuse("ArtifactCollection.save() of a registry's collection")
        target = Target(
            "artifact_collection", row["entity"], row["project"], row["collection"],
            row["collection_id"],
        )  # fmt: skip
        tags = texts("tags", attrs["tags"])
        operations = [
            *changes_of_tags(target, parse_json(row["tags"]) or [], tags),
            *changes_of_text(target, "description", row["description"], attrs["description"]),
        ]
        self._reader.queue(operations)
        self._row = {
            **row, "tags": json.dumps(tags), "description": attrs["description"]
        }  # fmt: skip

    def is_sequence(self) -> bool:
        """Says whether versions are logged to it, not linked."""
        return bool(self._row["kind"] == "ArtifactSequence")

    def load(self) -> dict[str, Any]:
        """Returns all fields."""
        return dict(self._attrs)

    def __repr__(self) -> str:
        return f"<ArtifactCollection {self.name} ({self.type})>"


def find_collection(
    reader: Reader, entity: str, project: str, name: str, type_name: str | None = None
) -> ArtifactCollection:
    """Returns a collection.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    rows = reader.rows(
        "SELECT * FROM artifact_collections WHERE entity = $entity AND project = $project"
        " AND collection = $name AND ($type IS NULL OR type_name = $type)",
        entity=entity, project=project, name=name, type=type_name,
    )  # fmt: skip
    if rows:
        return ArtifactCollection(reader, rows[0])
    if project.startswith(REGISTRY_PREFIX):
        from wbsync.offline.registries import find_registry_collection

        return find_registry_collection(reader, entity, project, name)
    raise not_held(f"the collection {entity}/{project}/{name}", entity, project)


class ArtifactCollections(Held[ArtifactCollection]):
    """The collections of a project, or of one type in it, the newest first."""

    def __init__(
        self,
        reader: Reader,
        entity: str,
        project: str,
        type_name: str | None = None,
        filters: Any = None,
        order: str | None = None,
    ) -> None:
        """Takes what is asked for.

        Raises:
            NotHeldError: The project was not synced.
        """
        reader.project(entity, project)
        self._reader = reader
        self.entity = entity
        self.project = project
        self.type_name = type_name
        self.filters = filters
        self.order = order

    def _load(self) -> list[ArtifactCollection]:
        scope = {"entity": self.entity, "project": self.project}
        if self.type_name is not None:
            scope["type_name"] = self.type_name
        order = self.order or "-created_at"
        rows = self._reader.select("collections", scope, self.filters, order).to_pylist()
        if not rows:
            self._reader.check_read("artifact_types", self.entity, self.project)
        return [ArtifactCollection(self._reader, row) for row in rows]

    def __repr__(self) -> str:
        return f"<ArtifactCollections {self.entity}/{self.project} ({self._size})>"


class ArtifactType(Record):
    """A type of artifact in a project."""

    def __init__(self, reader: Reader, row: dict[str, Any]) -> None:
        """Takes a row of the table artifact_types."""
        super().__init__(
            {
                "id": row["type_id"],
                "name": row["type_name"],
                "type": row["type_name"],
                "entity": row["entity"],
                "project": row["project"],
                "description": row["description"],
                "createdAt": instant(row["created_at"]),
            }
        )
        self._reader = reader

    def collections(
        self,
        filters: Any = None,
        order: str | None = None,
        per_page: int = 50,
        start: str | None = None,
    ) -> ArtifactCollections:
        """Returns the collections of this type."""
        del per_page
        refuse_cursor(start)
        return ArtifactCollections(
            self._reader, self.entity, self.project, self.name, filters, order
        )

    def collection(self, name: str) -> ArtifactCollection:
        """Returns a collection of this type."""
        return find_collection(self._reader, self.entity, self.project, name, self.name)

    def load(self) -> dict[str, Any]:
        """Returns all fields."""
        return dict(self._attrs)

    def __repr__(self) -> str:
        return f"<ArtifactType {self.name}>"


class ArtifactTypes(Held[ArtifactType]):
    """The artifact types of a project, the oldest first."""

    def __init__(self, reader: Reader, entity: str, project: str) -> None:
        """Takes what is asked for.

        Raises:
            NotHeldError: The project was not synced.
        """
        reader.project(entity, project)
        self._reader = reader
        self.entity = entity
        self.project = project

    def _load(self) -> list[ArtifactType]:
        rows = self._reader.rows(
            "SELECT * FROM artifact_types WHERE entity = $entity AND project = $project"
            " ORDER BY created_at, type_id",
            entity=self.entity, project=self.project,
        )  # fmt: skip
        if not rows:
            self._reader.check_read("artifact_types", self.entity, self.project)
        return [ArtifactType(self._reader, row) for row in rows]

    def __repr__(self) -> str:
        return f"<ArtifactTypes {self.entity}/{self.project}>"


def find_type(reader: Reader, entity: str, project: str, name: str) -> ArtifactType:
    """Returns an artifact type.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    for found in ArtifactTypes(reader, entity, project):
        if found.name == name:
            return found
    raise not_held(f"the artifact type {name} of {entity}/{project}", entity, project)
