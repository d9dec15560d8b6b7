"""What made what: versions and runs as a tree, from the warehouse alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wbsync.query.engine import Engine

COLLECTIONS = """
SELECT c.entity, c.project, c.collection, c.type_name AS type, count(a.artifact_id) AS versions,
       max(a.created_at) AS newest, sum(a.size_bytes) AS size_bytes
FROM artifact_collections c
LEFT JOIN artifacts a USING (entity, project, collection)
WHERE ($entity IS NULL OR c.entity = $entity) AND ($project IS NULL OR c.project = $project)
GROUP BY ALL ORDER BY 1, 2, 4, 3
"""

VERSIONS = """
SELECT a.version, a.state, string_agg(l.alias, ', ' ORDER BY l.alias) AS aliases, a.file_count AS
       files, a.size_bytes, a.created_at, a.description
FROM artifacts a
LEFT JOIN artifact_aliases l USING (entity, project, collection, artifact_id)
WHERE a.entity = $entity AND a.project = $project AND a.collection = $collection
GROUP BY a.version, a.state, a.file_count, a.size_bytes, a.created_at, a.description,
         a.version_index
ORDER BY a.version_index DESC
"""

VERSION = """
SELECT a.* EXCLUDE (deleted_at),
       (SELECT string_agg(alias, ', ' ORDER BY alias) FROM artifact_aliases l
         WHERE l.artifact_id = a.artifact_id) AS aliases,
       (SELECT string_agg(r.entity || '/' || r.project || '/' || r.run_id, ', ')
         FROM run_artifacts r WHERE r.artifact_id = a.artifact_id AND r.direction = 'logged')
         AS logged_by,
       (SELECT count(*) FROM run_artifacts r
         WHERE r.artifact_id = a.artifact_id AND r.direction = 'used') AS used_by_runs
FROM artifacts a WHERE a.artifact_id = $artifact_id
"""

_RUNS_OF = """
SELECT DISTINCT r.entity, r.project, r.run_id, x.display_name
FROM run_artifacts r LEFT JOIN runs x USING (entity, project, run_id)
WHERE r.artifact_id = $artifact_id AND r.direction = $direction ORDER BY 1, 2, 3
"""

_ARTIFACTS_OF = """
SELECT DISTINCT r.artifact_id, r.artifact_name, r.type_name
FROM run_artifacts r
WHERE r.entity = $entity AND r.project = $project AND r.run_id = $run_id
  AND r.direction = $direction ORDER BY 2, 1
"""

_NAME_OF = """
SELECT artifact_id, collection || ':' || version, type_name FROM artifacts
WHERE artifact_id = $artifact_id
"""


@dataclass(slots=True)
class Node:
    """A version or a run, and what comes next in the direction that was asked for."""

    kind: str
    """artifact or run."""
    id: str
    label: str
    next: list[Node] = field(default_factory=list)
    is_repeated: bool = False
    """Whether what comes next stands elsewhere in the tree already."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, nested."""
        return {
            "kind": self.kind,
            "id": self.id,
            "label": self.label,
            "next": [node.to_dict() for node in self.next],
            "is_repeated": self.is_repeated,
        }


def build_tree(engine: Engine, artifact_id: str, direction: str, depth: int) -> Node:
    """Returns the lineage of a version.

    Args:
        engine: An open warehouse.
        artifact_id: The version.
        direction: `up` for what it was made from, `down` for what was made from it.
        depth: Versions and runs to go through.
    """
    to_runs, to_artifacts = ("logged", "used") if direction == "up" else ("used", "logged")
    rows = engine.run_trusted(_NAME_OF, {"artifact_id": artifact_id}).fetchall()
    root = _artifact(*rows[0]) if rows else Node("artifact", artifact_id, artifact_id)
    seen: set[str] = set()
    level = [root]
    for _ in range(depth):
        following: list[Node] = []
        for node in level:
            if node.id in seen:
                node.is_repeated = True
                continue
            seen.add(node.id)
            node.next = _next(engine, node, to_runs, to_artifacts)
            following += node.next
        level = following
    return root


def _next(engine: Engine, node: Node, to_runs: str, to_artifacts: str) -> list[Node]:
    if node.kind == "artifact":
        where = {"artifact_id": node.id, "direction": to_runs}
        return [
            Node("run", f"{e}/{p}/{r}", f"{name or r} ({e}/{p}/{r})")
            for e, p, r, name in engine.run_trusted(_RUNS_OF, where).fetchall()
        ]
    entity, project, run_id = node.id.split("/", 2)
    where = {"entity": entity, "project": project, "run_id": run_id, "direction": to_artifacts}
    return [_artifact(*row) for row in engine.run_trusted(_ARTIFACTS_OF, where).fetchall()]


def _artifact(artifact_id: str, name: str | None, type_name: str | None) -> Node:
    return Node("artifact", artifact_id, f"{name or artifact_id} [{type_name or '?'}]")


def render_tree(node: Node, prefix: str = "") -> Iterator[str]:
    """Yields the lines of a tree."""
    if not prefix:
        yield node.label
    for index, child in enumerate(node.next):
        is_last = index == len(node.next) - 1
        again = " (see above)" if child.is_repeated else ""
        yield f"{prefix}{'└─ ' if is_last else '├─ '}{child.label}{again}"
        yield from render_tree(child, prefix + ("   " if is_last else "│  "))
