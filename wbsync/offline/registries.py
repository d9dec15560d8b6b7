"""Registries, their collections and what is linked into them.

Source: wandb/apis/public/registries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.errors import NotHeldError
from wbsync.extract.values import parse_json
from wbsync.model import REGISTRY_PREFIX
from wbsync.offline.artifacts import Artifact, link_of, read_versions
from wbsync.offline.collections import ArtifactCollection
from wbsync.offline.listing import Held, refuse_cursor
from wbsync.offline.records import Record, instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wbsync.download import ArtifactName
    from wbsync.offline.reader import Reader

_REGISTRIES = "SELECT * FROM registries WHERE organization = $organization"

_TEAMS = "SELECT entity FROM entities WHERE organization = $organization"

_COLLECTIONS = """
SELECT c.*, r.entity, r.registry_id AS project_id,
       'wandb-registry-' || c.registry AS project, 'ArtifactPortfolio' AS kind
FROM registry_collections c JOIN registries r USING (organization, registry)
WHERE c.collection_id IN (SELECT unnest($ids))
"""

_VERSIONS = """
SELECT v.*, r.entity FROM registry_versions v JOIN registries r USING (organization, registry)
WHERE v.membership_id IN (SELECT unnest($ids))
"""

_LINKED = """
SELECT v.*, r.entity FROM registry_versions v JOIN registries r USING (organization, registry)
WHERE v.registry = $registry AND v.collection = $collection
  AND ($owner IS NULL OR r.entity = $owner OR v.organization = $owner)
"""

_COLLECTION = """
SELECT c.collection_id FROM registry_collections c
JOIN registries r USING (organization, registry)
WHERE c.registry = $registry AND c.collection = $name
  AND (r.entity = $owner OR c.organization = $owner)
"""


class Registry(Record):
    """A registry."""

    _refused = frozenset({
        "create", "delete", "save", "add_members", "remove_members", "update_member",
    })  # fmt: skip
    _unheld = frozenset({"members", "user_members", "team_members", "internal_id"})

    def __init__(self, reader: Reader, row: dict[str, Any]) -> None:
        """Takes a row of the table registries."""
        super().__init__(
            {
                "id": row["registry_id"],
                "name": row["registry"],
                "full_name": REGISTRY_PREFIX + row["registry"],
                "entity": row["entity"],
                "organization": row["organization"],
                "description": row["description"],
                "visibility": row["visibility"],
                "allow_all_artifact_types": row["allow_all_artifact_types"],
                "artifact_types": parse_json(row["artifact_types"]) or [],
                "createdAt": instant(row["created_at"]),
                "updatedAt": instant(row["updated_at"]),
            }
        )
        self._reader = reader

    @property
    def path(self) -> list[str]:
        """Entity and name of its project."""
        return [self._attrs["entity"], self._attrs["full_name"]]

    def collections(
        self,
        filter: Any = None,
        order: str | None = None,
        per_page: int = 100,
        start: str | None = None,
    ) -> Collections:
        """Returns the collections that pass a filter."""
        del per_page
        refuse_cursor(start)
        organization = self._attrs["organization"]
        return Collections(self._reader, organization, [self._attrs["name"]], filter, order)

    def versions(
        self,
        filter: Any = None,
        order: str | None = None,
        per_page: int = 100,
        start: str | None = None,
    ) -> LinkedVersions:
        """Returns the linked versions that pass a filter."""
        refuse_cursor(start)
        return self.collections().versions(filter, order, per_page)

    def load(self) -> None:
        """Does nothing: all is loaded."""

    def __repr__(self) -> str:
        return f"<Registry {self._attrs['organization']}/{self._attrs['name']}>"


class Registries(Held[Registry]):
    """The registries of an organisation that pass a filter."""

    def __init__(
        self, reader: Reader, organization: str, filter: Any = None,
        order: str | None = None,
    ) -> None:  # fmt: skip
        """Takes what is asked for."""
        self._reader = reader
        self.organization = organization
        self.filter = filter
        self.order = order

    def collections(
        self,
        filter: Any = None,
        order: str | None = None,
        per_page: int = 100,
        start: str | None = None,
    ) -> Collections:
        """Returns the collections in these that pass a filter."""
        del per_page
        refuse_cursor(start)
        names = [registry.name for registry in self]
        return Collections(self._reader, self.organization, names, filter, order)

    def versions(
        self,
        filter: Any = None,
        order: str | None = None,
        per_page: int = 100,
        start: str | None = None,
    ) -> LinkedVersions:
        """Returns the versions linked into these that pass a filter."""
        refuse_cursor(start)
        return self.collections().versions(filter, order, per_page)

    def _load(self) -> list[Registry]:
        organization = self.organization
        if not self._reader.rows(_REGISTRIES, organization=organization):
            teams = self._reader.rows(_TEAMS, organization=organization)
            if not any(self._reader.has_read("registries", team["entity"]) for team in teams):
                raise NotHeldError(
                    f"the organisation {organization}", "wbsync sync ENTITY of a team in it"
                )
        scope = {"organization": self.organization}
        rows = self._reader.select("registries", scope, self.filter, self.order).to_pylist()
        return [Registry(self._reader, row) for row in rows]

    def __repr__(self) -> str:
        return f"<Registries {self.organization}>"


class Collections(Held[ArtifactCollection]):
    """Collections of registries."""

    def __init__(self, reader: Reader, organization: str, registries: Sequence[str],
                 filter: Any = None, order: str | None = None) -> None:  # fmt: skip
        """Takes what is asked for, of these registries."""
        self._reader = reader
        self.organization = organization
        self._registries = frozenset(registries)
        self.filter = filter
        self.order = order

    def versions(
        self,
        filter: Any = None,
        order: str | None = None,
        per_page: int = 100,
        start: str | None = None,
    ) -> LinkedVersions:
        """Returns the versions linked into these that pass a filter."""
        del per_page
        refuse_cursor(start)
        return LinkedVersions(self._reader, [c.id for c in self], filter, order)

    def _load(self) -> list[ArtifactCollection]:
        found = self._reader.select(
            "registry_collections", {"organization": self.organization}, self.filter, self.order,
            ("collection_id", "registry"),
        ).to_pylist()  # fmt: skip
        return read_collections(
            self._reader, [r["collection_id"] for r in found if r["registry"] in self._registries]
        )

    def __repr__(self) -> str:
        return f"<Collections {self.organization}>"


class LinkedVersions(Held[Artifact]):
    """Versions linked into collections of registries."""

    def __init__(self, reader: Reader, collections: Sequence[str], filter: Any = None,
                 order: str | None = None) -> None:  # fmt: skip
        """Takes what is asked for, of the collections of these ids."""
        self._reader = reader
        self._collections = frozenset(collections)
        self.filter = filter
        self.order = order

    def _load(self) -> list[Artifact]:
        found = self._reader.select(
            "registry_versions", {}, self.filter, self.order, ("membership_id", "collection_id")
        ).to_pylist()
        ids = [r["membership_id"] for r in found if r["collection_id"] in self._collections]
        links = {row["membership_id"]: row for row in self._reader.rows(_VERSIONS, ids=ids)}
        return [linked(self._reader, links[i]) for i in ids]

    def __repr__(self) -> str:
        return f"<Versions ({self._size})>"


def linked(reader: Reader, row: dict[str, Any], name: str | None = None) -> Artifact:
    """Returns the version of a row of registry_versions.

    Raises:
        NotHeldError: The project that it was logged to was not synced.
    """
    versions = read_versions(reader, [row["artifact_id"]] if row["artifact_id"] else [])
    if not versions:
        source = f"{row['source_entity']}/{row['source_project']}"
        raise NotHeldError(
            f"{row['registry']}/{row['collection']}:{row['version']}", f"wbsync sync {source}"
        )
    return Artifact(reader, next(iter(versions.values())), link_of(row), name)


def find_linked(reader: Reader, name: ArtifactName, given: str | None) -> Artifact:
    """Returns the version that a registry's name stands for.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    for row in _links(reader, name):
        return linked(reader, row, given)
    raise NotHeldError(f"the artifact {name}", "wbsync sync ENTITY of a team that sees it")


def is_linked(reader: Reader, name: ArtifactName) -> bool:
    """Says whether a registry's name stands for a version, be the version held or not."""
    return any(True for _ in _links(reader, name))


def _links(reader: Reader, name: ArtifactName) -> Iterator[dict[str, Any]]:
    rows = reader.rows(
        _LINKED, registry=name.project.removeprefix(REGISTRY_PREFIX), collection=name.collection,
        owner=name.entity,
    )  # fmt: skip
    for row in rows:
        if name.alias in {row["version"], *(parse_json(row["aliases"]) or [])}:
            yield row


def read_collections(reader: Reader, ids: Sequence[str]) -> list[ArtifactCollection]:
    """Returns collections of registries by their ids, in that order."""
    rows = {row["collection_id"]: row for row in reader.rows(_COLLECTIONS, ids=list(ids))}
    return [ArtifactCollection(reader, rows[i]) for i in ids]


def find_registry_collection(
    reader: Reader, entity: str, project: str, name: str
) -> ArtifactCollection:
    """Returns a collection of a registry.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    rows = reader.rows(
        _COLLECTION, registry=project.removeprefix(REGISTRY_PREFIX), name=name, owner=entity
    )  # fmt: skip
    if not rows:
        raise NotHeldError(
            f"the collection {entity}/{project}/{name}", "wbsync sync ENTITY of a team that sees it"
        )
    return read_collections(reader, [rows[0]["collection_id"]])[0]


def find_organization(reader: Reader) -> str:
    """Returns the only organisation that is held.

    Raises:
        NotHeldError: There is none, or there are several.
    """
    rows = reader.rows("SELECT DISTINCT organization FROM registries ORDER BY 1")
    if len(rows) == 1:
        return str(rows[0]["organization"])
    names = ", ".join(row["organization"] for row in rows)
    if names:
        raise ValueError(f"name the organization: {names} are held")
    raise NotHeldError("any registry", "wbsync sync ENTITY of a team that sees it")
