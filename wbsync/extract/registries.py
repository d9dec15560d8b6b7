"""Registries, their collections, and the versions linked into them.

Source: queries/wandb/organization_registries.graphql; wandb/apis/public/registries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table, nodes_of
from wbsync.extract.values import as_int, canonical_json, parse_time
from wbsync.model import REGISTRY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import pyarrow as pa


def registry_of(node: dict[str, Any]) -> str | None:
    """Returns the registry that a project is, None for any other project."""
    name = node.get("name") or ""
    return name.removeprefix(REGISTRY_PREFIX) if name.startswith(REGISTRY_PREFIX) else None


def build_registry_rows(
    nodes: Iterable[dict[str, Any]], organization: str, entity: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table registries.

    Args:
        nodes: Projects of the organisation's entity; those that are no registry are left out.
        organization: Its name.
        entity: Its entity.
        synced_at: When they were read.
    """
    rows = {}
    for node in nodes:
        registry = registry_of(node)
        if registry is None:
            continue
        access = node.get("access")
        allow_all = node.get("allowAllArtifactTypesInRegistry")
        rows[registry] = {
            "organization": organization,
            "registry": registry,
            "registry_id": node["id"],
            "entity": entity,
            "description": node.get("description"),
            # As in the SDK: any other access is an old way to write the first.
            "visibility": "restricted" if access == "RESTRICTED" else "organization",
            "access": access,
            "allow_all_artifact_types": None if allow_all is None else bool(allow_all),
            "artifact_types": canonical_json(
                sorted(t["name"] for t in nodes_of(node.get("artifactTypes")))
            ),
            "created_at": parse_time(node.get("createdAt")),
            "updated_at": parse_time(node.get("updatedAt")),
            "synced_at": synced_at,
        }
    return build_table("registries", list(rows.values()))


def build_registry_collection_rows(
    nodes: Iterable[dict[str, Any]], organization: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table registry_collections; other collections are left out."""
    rows = {}
    for node in nodes:
        registry = registry_of(node.get("project") or {})
        if registry is None or node.get("__typename") == "ArtifactSequence":
            continue
        rows[node["id"]] = {
            "organization": organization,
            "registry": registry,
            "collection": node["name"],
            "collection_id": node["id"],
            "type_name": (node.get("defaultArtifactType") or {}).get("name"),
            "description": node.get("description"),
            "tags": canonical_json(sorted(t["name"] for t in nodes_of(node.get("tags")))),
            "version_count": as_int((node.get("artifacts") or {}).get("totalCount")),
            "created_at": parse_time(node.get("createdAt")),
            "updated_at": parse_time(node.get("updatedAt")),
            "synced_at": synced_at,
        }
    return build_table("registry_collections", list(rows.values()))


def build_registry_version_rows(
    nodes: Iterable[dict[str, Any]], organization: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table registry_versions; links into other collections are left out."""
    rows = {}
    for node in nodes:
        collection = node.get("artifactCollection") or {}
        registry = registry_of(collection.get("project") or {})
        if registry is None:
            continue
        artifact = node.get("artifact") or {}
        source = artifact.get("artifactSequence") or {}
        home = source.get("project") or {}
        rows[node["id"]] = {
            "organization": organization,
            "registry": registry,
            "collection": collection["name"],
            "collection_id": collection["id"],
            "membership_id": node["id"],
            "version_index": as_int(node.get("versionIndex")),
            "version": _version(node),
            "aliases": canonical_json(sorted(a["alias"] for a in node.get("aliases") or [])),
            "artifact_id": artifact.get("id"),
            "linked_at": parse_time(node.get("createdAt")),
            "source_entity": (home.get("entity") or {}).get("name"),
            "source_project": home.get("name"),
            "source_collection": source.get("name"),
            "source_version": _version(artifact),
            "synced_at": synced_at,
        }
    return build_table("registry_versions", list(rows.values()))


def _version(node: dict[str, Any]) -> str | None:
    index = as_int(node.get("versionIndex"))
    return None if index is None else f"v{index}"
