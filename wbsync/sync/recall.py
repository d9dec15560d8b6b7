"""Fills what W&B does not tell of a run from what is held of it.

Such a run has no content hash where it is written: so every sync reads it again until all is told,
whatever its times say. Where what is told is as it is held, nothing is written at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import lists_all, nodes_of
from wbsync.extract.values import parse_time
from wbsync.sync.context import project_filter
from wbsync.sync.drift import UNCOMPARED, same
from wbsync.sync.plan import LIGHT_FIELDS
from wbsync.sync.untold import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from wbsync.extract.runs import RunRows
    from wbsync.sync.context import Context
    from wbsync.sync.plan import Stored
    from wbsync.sync.untold import Source, Untold


def _unless_empty(column: str) -> Source:
    """Returns the source of a column that is the same for nothing and for null."""
    return lambda row: None if row[column] in NOTHING else row[column]


CLAIMS = frozenset({"historyLineCount"})
"""What W&B claims of a history: null there is no claim, which the stream of histories knows of."""

OPTIONAL = frozenset({"notes", "group", "jobType", "sweepName", "tags"})
"""Fields whose null is W&B's own word for none: what somebody has cleared is to go."""

LIGHT: dict[str, Source] = {
    name: column
    for name, column in LIGHT_FIELDS.items()
    if name not in CLAIMS and name not in OPTIONAL
}
"""Fields of a light page, to where their values are held."""

FIELDS: dict[str, Source] = {
    **LIGHT,
    "config": "config_raw",
    "summaryMetrics": _unless_empty("summary"),
    "systemMetrics": _unless_empty("system_summary"),
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
"""Fields of a run, to where their values are held; those that depend on others come besides."""

TELLING = ("config", "summaryMetrics", "outputArtifacts", "inputArtifacts")
"""Fields that, where they are not told of one run, are told of none, whatever is held of it."""

DIRECTIONS = {"outputArtifacts": "logged", "inputArtifacts": "used"}


@dataclass(slots=True)
class Recalled:
    """Runs of which something is null."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Run id to the row that is held."""
    untold: set[str] = field(default_factory=set)
    """Those of which something is held where null came, and those that lack the same fields."""

    def as_held(self, context: Context, rows: RunRows) -> set[str]:
        """Returns those runs whose rows say nothing but what is held."""
        equal = {
            row["run_id"]
            for row in rows.runs.to_pylist()
            if (old := self.runs.get(row["run_id"])) is not None
            and all(same(old[name], row[name]) for name in row if name not in UNCOMPARED)
        }
        if not equal:
            return equal
        where = [*project_filter(context), ("run_id", "in", sorted(equal))]
        links = _links(rows.run_artifacts)
        held = _links(context.lake.read("run_artifacts", filters=where))
        return {run_id for run_id in equal if held.get(run_id) == links.get(run_id)}


def recall_light(untold: Untold, node: dict[str, Any], stored: Stored | None) -> None:
    """Fills the nulls of a run of a light page, except times: without these it is read in full."""
    if not _is_other_run(node, stored):
        untold.fill(node, stored, LIGHT, node["name"])


def recall_runs(
    context: Context,
    untold: Untold,
    nodes: Sequence[dict[str, Any]],
    stored: Mapping[str, Stored],
) -> Recalled:
    """Fills the nulls of runs that were read in full, and returns these runs as they are held.

    Args:
        context: The project's sync.
        untold: Takes note of what is filled.
        nodes: The runs; they are changed in place.
        stored: Held runs.
    """
    recalled = Recalled()
    nulls = {n["name"]: {f for f in TELLING if n.get(f, 0) is None} for n in nodes}
    known = {
        node["name"]: node
        for node in nodes
        if _has_null(node) and not _is_other_run(node, stored.get(node["name"]))
    }
    where = [*project_filter(context), ("run_id", "in", sorted(known))]
    rows = context.lake.read("runs", filters=where).to_pylist() if known else []
    held = {row["run_id"]: row for row in rows}
    links: dict[str, set[tuple[Any, ...]]] = {}
    if any(_has_null_link(node) for node in known.values()):
        links = _links(context.lake.read("run_artifacts", filters=where))
    for run_id, row in held.items():
        node = known[run_id]
        is_untold = untold.fill(node, row, FIELDS, run_id)
        sources = {name: _link_source(links.get(run_id, set()), name) for name in DIRECTIONS}
        is_untold |= untold.fill(node, row, sources, run_id)
        _keep_links(node, links.get(run_id, set()))
        ids = {link[0]: {"name": link[3]} for link in links.get(run_id, ())}
        for artifact in _artifacts(node):
            is_untold |= untold.fill(artifact, ids.get(artifact["id"]), VERSION, run_id)
        recalled.runs[run_id] = row
        if is_untold:
            recalled.untold.add(run_id)
    hidden = untold.fields()
    recalled.untold |= {run_id for run_id, fields in nulls.items() if fields & hidden}
    return recalled


def _is_other_run(node: Mapping[str, Any], stored: Stored | None) -> bool:
    """Says whether nothing is held of a run: it is new, or was deleted and made again."""
    if stored is None:
        return True
    created_at = parse_time(node.get("createdAt"))
    return any(
        ours is not None and theirs is not None and ours != theirs
        for ours, theirs in (
            (stored["storage_id"], node.get("id")),
            (stored["created_at"], created_at),
        )
    )


def _keep_links(node: dict[str, Any], links: set[tuple[Any, ...]]) -> None:
    """Keeps the held links of a run that may be those which the server lists and does not show."""
    told = {artifact["id"] for artifact in _artifacts(node)}
    left = {link for link in links if link[0] not in told}
    for name in DIRECTIONS:
        connection = node.get(name)
        if connection and not lists_all(connection) and (found := _link_source(left, name)({})):
            connection["edges"] = [*connection["edges"], *found["edges"]]


def _artifacts(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the artifacts that a run logged or used."""
    return [artifact for name in DIRECTIONS for artifact in nodes_of(node.get(name))]


def _has_null_link(node: Mapping[str, Any]) -> bool:
    return any(name in node and not lists_all(node[name]) for name in DIRECTIONS) or any(
        artifact.get("versionIndex", 0) is None for artifact in _artifacts(node)
    )


def _has_null(node: Mapping[str, Any]) -> bool:
    """Says whether something of a run is null."""
    return any(node.get(name, 0) is None for name in FIELDS) or _has_null_link(node)


def _links(table: pa.Table) -> dict[str, set[tuple[Any, ...]]]:
    """Returns run id to (artifact id, direction, type, name)."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    names = ("artifact_id", "direction", "type_name", "artifact_name")
    for row in table.to_pylist():
        found.setdefault(row["run_id"], set()).add(tuple(row[name] for name in names))
    return found


def _link_source(
    links: set[tuple[Any, ...]], name: str
) -> Callable[[Mapping[str, Any]], dict[str, Any] | None]:
    """Returns what makes of held links the connection that W&B gives for them."""
    edges = [
        {"node": _artifact(artifact_id, type_name, artifact_name)}
        for artifact_id, direction, type_name, artifact_name in sorted(links, key=str)
        if direction == DIRECTIONS[name]
    ]
    return lambda _row: {"edges": edges} if edges else None


def _artifact(artifact_id: str, type_name: str | None, name: str | None) -> dict[str, Any]:
    collection, _, index = (name or "").rpartition(":v")
    return {
        "id": artifact_id,
        "artifactType": {"name": type_name},
        "artifactSequence": None if name is None else {"name": collection},
        "versionIndex": index or None,
    }


VERSION: dict[str, Source] = {
    "versionIndex": lambda link: (link["name"] or "").rpartition(":v")[2] or None
}
