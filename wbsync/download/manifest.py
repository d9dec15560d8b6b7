"""What a version holds, by its manifest.

Source: wandb/sdk/artifacts/artifact_manifests/artifact_manifest_v1.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wbsync.download.digests import Digest
from wbsync.errors import ExtractError
from wbsync.extract.values import as_int, parse_json


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a reference of a version."""

    path: str
    """Path as logged: data, not yet a place on disk."""
    raw_digest: str
    digest: Digest | None
    """None where the digest is not that of the content, as for references."""
    size: int | None
    ref: str | None
    birth_artifact_id: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a version."""

    version: str
    storage_layout: str
    storage_region: str | None
    entries: tuple[Entry, ...]


def parse_manifest(body: bytes) -> Manifest:
    """Returns what a manifest says.

    Raises:
        ExtractError: It is none.
    """
    try:
        values = parse_json(body)
    except ValueError as error:
        raise ExtractError("the manifest is not JSON") from error
    contents = values.get("contents") if isinstance(values, dict) else None
    if not isinstance(contents, dict):
        raise ExtractError("the manifest names no contents")
    policy = values.get("storagePolicyConfig")
    policy = policy if isinstance(policy, dict) else {}
    return Manifest(
        version=str(values.get("version", 1)),
        storage_layout=str(policy.get("storageLayout") or "V1"),
        storage_region=policy.get("storageRegion"),
        entries=tuple(_entry(path, entry) for path, entry in contents.items()),
    )


def _entry(path: str, entry: Any) -> Entry:
    if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
        raise ExtractError(f"the manifest gives no digest of {path!r}")
    extra = entry.get("extra")
    algorithm = str(extra.get("alg", "md5")).lower() if isinstance(extra, dict) else "md5"
    ref = entry.get("ref")
    is_link = isinstance(ref, str)
    birth = entry.get("birthArtifactID")
    return Entry(
        path=path,
        raw_digest=entry["digest"],
        digest=None if is_link else Digest.parse(entry["digest"], algorithm),
        size=as_int(entry.get("size")),
        ref=ref if is_link else None,
        birth_artifact_id=birth if isinstance(birth, str) else None,
    )
