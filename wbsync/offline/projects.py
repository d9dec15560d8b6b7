"""Projects. Source: wandb/apis/public/projects.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.errors import NotHeldError
from wbsync.offline.collections import ArtifactCollections, ArtifactTypes
from wbsync.offline.listing import Held
from wbsync.offline.records import Record, frame, instant
from wbsync.offline.sweeps import Sweeps

if TYPE_CHECKING:
    from wbsync.offline.reader import Reader


class Project(Record):
    """A project."""

    _unheld = frozenset({"owner", "is_benchmark", "user"})

    def __init__(self, reader: Reader, row: dict[str, Any]) -> None:
        """Takes a row of the table projects."""
        super().__init__(
            {
                "id": row["project_id"],
                "name": row["project"],
                "entity": row["entity"],
                "entityName": row["entity"],
                "description": row["description"],
                "access": row["access"],
                "createdAt": instant(row["created_at"]),
                "internalId": row["internal_id"],
            }
        )
        self._reader = reader

    @property
    def path(self) -> list[str]:
        """Entity and project."""
        return [self._attrs["entity"], self._attrs["name"]]

    @property
    def url(self) -> str:
        """Page of the project."""
        return f"{self._reader.app_url}/{'/'.join(self.path)}/workspace"

    def artifacts_types(self, per_page: int = 50) -> ArtifactTypes:
        """Returns the artifact types."""
        del per_page
        return ArtifactTypes(self._reader, self.entity, self.name)

    def collections(
        self, filters: Any = None, order: str | None = None, per_page: int = 50
    ) -> ArtifactCollections:
        """Returns the artifact collections."""
        del per_page
        return ArtifactCollections(self._reader, self.entity, self.name, None, filters, order)

    def sweeps(self, per_page: int = 50, filters: Any = None, order: str | None = None) -> Sweeps:
        """Returns the sweeps, the newest first: wandb takes an order, and drops it."""
        del per_page, order
        return Sweeps(self._reader, self.entity, self.name, filters)

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """Returns a frame that shows the project's page."""
        return frame(self.url, height, hidden)

    def __repr__(self) -> str:
        return f"<Project {'/'.join(self.path)}>"


class Projects(Held[Project]):
    """The projects of an entity that were synced."""

    def __init__(self, reader: Reader, entity: str) -> None:
        """Takes the entity."""
        self._reader = reader
        self.entity = entity

    def _load(self) -> list[Project]:
        rows = self._reader.rows(
            "SELECT * FROM projects WHERE entity = $entity ORDER BY created_at, project",
            entity=self.entity,
        )
        if not rows:
            raise NotHeldError(f"the entity {self.entity}", f"wbsync sync {self.entity}")
        return [Project(self._reader, row) for row in rows]

    def __repr__(self) -> str:
        return f"<Projects {self.entity}>"
