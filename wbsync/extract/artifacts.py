"""Artifact types, collections, versions and aliases.

Source: queries/wandb/{project_state,collection_artifacts}.graphql; wandb/apis/public/artifacts.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table, nodes_of
from wbsync.extract.values import as_int, canonical_json, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from wbsync.model import ProjectPath


def build_type_rows(
    nodes: Sequence[dict[str, Any]], project: ProjectPath, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table artifact_types."""
    return build_table(
        "artifact_types",
        [
            {
                "entity": project.entity,
                "project": project.project,
                "type_name": node["name"],
                "type_id": node.get("id"),
                "description": node.get("description"),
                "created_at": parse_time(node.get("createdAt")),
                "synced_at": synced_at,
            }
            for node in nodes
        ],
    )


def build_collection_rows(
    pairs: Sequence[tuple[str, dict[str, Any]]], project: ProjectPath, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table artifact_collections.

    Args:
        pairs: Artifact type and collection.
        project: Where they are.
        synced_at: When they were read.
    """
    return build_table(
        "artifact_collections",
        [
            {
                "entity": project.entity,
                "project": project.project,
                "type_name": type_name,
                "collection": node["name"],
                "collection_id": node["id"],
                "kind": node.get("__typename"),
                "description": node.get("description"),
                "tags": canonical_json(sorted(t["name"] for t in nodes_of(node.get("tags")))),
                "version_count": as_int((node.get("artifacts") or {}).get("totalCount")),
                "created_at": parse_time(node.get("createdAt")),
                "updated_at": parse_time(node.get("updatedAt")),
                "synced_at": synced_at,
            }
            for type_name, node in pairs
        ],
    )


def build_artifact_rows(
    nodes: Sequence[dict[str, Any]], project: ProjectPath, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table artifacts, each under its source collection."""
    rows = []
    for node in nodes:
        source = node.get("artifactSequence") or {}
        home = source.get("project") or {}
        index = as_int(node.get("versionIndex"))
        ttl = as_int(node.get("ttlDurationSeconds"))
        rows.append(
            {
                "entity": home.get("entityName") or project.entity,
                "project": home.get("name") or project.project,
                "artifact_id": node["id"],
                "type_name": (node.get("artifactType") or {}).get("name") or "",
                "collection": source.get("name") or "",
                "version_index": index,
                "version": None if index is None else f"v{index}",
                "state": node.get("state"),
                "description": node.get("description"),
                "metadata": node.get("metadata"),
                "tags": canonical_json(sorted(t["name"] for t in node.get("tags") or [])),
                "digest": node.get("digest"),
                "size_bytes": as_int(node.get("size")),
                "file_count": as_int(node.get("fileCount")),
                "commit_hash": node.get("commitHash"),
                "history_step": as_int(node.get("historyStep")),
                "ttl_seconds": ttl if ttl is not None and ttl > 0 else None,
                "created_at": parse_time(node.get("createdAt")),
                "updated_at": parse_time(node.get("updatedAt")),
                "synced_at": synced_at,
            }
        )
    return build_table("artifacts", rows)


def build_alias_rows(
    nodes: Sequence[dict[str, Any]], project: ProjectPath, collection: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table artifact_aliases for one collection.

    A version's aliases span all collections that it is linked to; those of others are left out.
    """
    rows: dict[str, dict[str, Any]] = {}
    for node in nodes:
        for alias in node.get("aliases") or []:
            if not is_alias_in(alias, project, collection):
                continue
            rows[alias["alias"]] = {
                "entity": project.entity,
                "project": project.project,
                "collection": collection,
                "alias": alias["alias"],
                "artifact_id": node["id"],
                "version_index": as_int(node.get("versionIndex")),
                "synced_at": synced_at,
            }
    return build_table("artifact_aliases", list(rows.values()))


def is_alias_in(alias: dict[str, Any], project: ProjectPath, collection: str) -> bool:
    """Says whether a version's alias stands in a collection, as far as the server says where."""
    found = alias.get("artifactCollection") or {}
    home = found.get("project") or {}
    return (
        found.get("name", collection),
        home.get("entityName", project.entity),
        home.get("name", project.project),
    ) == (collection, project.entity, project.project)


def told_aliases(version: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Returns a version's aliases; None where the server does not tell them, or of what they are.

    >>> told_aliases({"aliases": None}), told_aliases({"aliases": [{"alias": "v0"}]})
    (None, [{'alias': 'v0'}])
    """
    aliases: list[dict[str, Any]] | None = version.get("aliases", [])
    if aliases is None or any(alias.get("artifactCollection", {}) is None for alias in aliases):
        return None
    return aliases
