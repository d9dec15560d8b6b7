"""The files of an artifact version, from its manifest.

Source: wandb/sdk/artifacts/artifact_manifests/artifact_manifest_v1.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.errors import ExtractError
from wbsync.extract.rows import build_table
from wbsync.extract.values import as_int, canonical_json, parse_json, valid_text

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from wbsync.model import ArtifactPath


def build_manifest_rows(body: bytes, artifact: ArtifactPath, synced_at: datetime) -> pa.Table:
    """Returns rows of the table artifact_files; a path is data, whatever it says.

    Raises:
        ExtractError: The body is no manifest.
    """
    try:
        manifest = parse_json(body)
    except ValueError as error:
        raise ExtractError("its manifest is not JSON") from error
    contents = manifest.get("contents") if isinstance(manifest, dict) else None
    if not isinstance(contents, dict):
        raise ExtractError("its manifest names no contents")
    return build_table(
        "artifact_files",
        [
            {
                "entity": artifact.entity,
                "project": artifact.project,
                "artifact_id": artifact.artifact_id,
                "synced_at": synced_at,
                **_entry(path, entry),
            }
            for path, entry in contents.items()
        ],
    )


def _entry(path: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
        raise ExtractError(f"its manifest gives no digest of {path!r}")
    ref, birth, extra = (entry.get(name) for name in ("ref", "birthArtifactID", "extra"))
    return {
        "path": valid_text(path),
        "digest": valid_text(entry["digest"]),
        "size_bytes": as_int(entry.get("size")),
        "ref": valid_text(ref) if isinstance(ref, str) else None,
        "birth_artifact_id": valid_text(birth) if isinstance(birth, str) else None,
        "extra": valid_text(canonical_json(extra)) if extra else None,
    }
