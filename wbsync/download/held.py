"""Looks versions up in the warehouse, for when W&B is not asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import WarehouseError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from wbsync.download.names import ArtifactName

_SYNCED = """
SELECT max(ended_at) FROM sync_log
WHERE entity = $entity AND project = $project AND outcome IN ('complete', 'partial')
"""

_BY_VERSION = """
SELECT artifact_id, collection || ':v' || version_index, entity, project FROM artifacts
WHERE project = $project AND collection = $collection AND version_index = $version
  AND ($entity IS NULL OR entity = $entity)
"""

_BY_ALIAS = """
SELECT a.artifact_id, a.collection || ':v' || l.version_index, l.entity, l.project
FROM artifact_aliases l JOIN artifacts a USING (artifact_id)
WHERE l.project = $project AND l.collection = $collection AND l.alias = $alias
  AND ($entity IS NULL OR l.entity = $entity)
"""

_BY_LINK = """
SELECT v.artifact_id, v.collection || ':v' || v.version_index, r.entity, ''
FROM registry_versions v JOIN registries r USING (organization, registry)
WHERE $project = 'wandb-registry-' || v.registry AND v.collection = $collection
  AND v.artifact_id IS NOT NULL
  AND CASE WHEN $version::BIGINT IS NULL
           THEN list_contains(from_json(v.aliases, '["VARCHAR"]'), $alias)
           ELSE v.version_index = $version END
  AND ($entity IS NULL OR $entity IN (r.organization, r.entity))
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A version that the warehouse holds."""

    artifact_id: str
    name: str
    """`collection:vN`."""
    synced_at: datetime | None
    """When what stands in the name's place was last synced to an end; None where that is not
    known."""


def find_held(warehouse: Path, name: ArtifactName) -> Held | None:
    """Returns the version that a name stands for, None for none held.

    Raises:
        WarehouseError: The name stands for versions of several entities.
    """
    from wbsync.query import Engine

    where = {"entity": name.entity, "project": name.project, "collection": name.collection}
    with Engine.open(warehouse) as engine:
        if name.is_registry:
            params = {**where, "version": name.version_index, "alias": name.alias}
            rows = engine.run_trusted(_BY_LINK, params).fetchall()
        elif name.version_index is None:
            rows = engine.run_trusted(_BY_ALIAS, {**where, "alias": name.alias}).fetchall()
        else:
            params = {**where, "version": name.version_index}
            rows = engine.run_trusted(_BY_VERSION, params).fetchall()
        if len(rows) > 1:
            raise WarehouseError(f"{name} is held of several entities; write ENTITY/{name}")
        if not rows:
            return None
        artifact_id, version, entity, project = rows[0]
        synced = engine.run_trusted(_SYNCED, {"entity": entity, "project": project}).fetchall()
    return Held(artifact_id, version, synced[0][0])
