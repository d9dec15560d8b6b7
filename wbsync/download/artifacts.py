"""Brings a version of an artifact to disk: name to version, manifest, files, references.

Source: wandb/sdk/artifacts/artifact.py (`_download`), storage_policies/wandb_storage_policy.py.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.api import load_document
from wbsync.download.fetch import CACHE, Fetched, Fetcher, Item, no_file_fits
from wbsync.download.held import find_held
from wbsync.download.manifest import Entry, Manifest, parse_manifest
from wbsync.download.references import fetch_references
from wbsync.errors import (
    ConfigError,
    DownloadError,
    ExtractError,
    GraphQLError,
    NotFoundError,
    SignedUrlExpiredError,
    TransportError,
)
from wbsync.extract.rows import nodes_of
from wbsync.model import REGISTRY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wbsync.api import Client
    from wbsync.download.names import ArtifactName
    from wbsync.progress import ProgressHook

ENTRIES_PER_REQUEST = 1000
_OTHER_ARTIFACT = re.compile(r"wandb-artifact://(?P<id>[0-9a-fA-F]+)/(?P<path>.+)")


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was found."""

    artifact_id: str
    name: str
    """`collection:vN`, for the folder."""
    manifest_url: str | None
    note: str | None = None
    """Since when W&B may know better, where it was not asked."""


async def get_artifact(
    name: ArtifactName,
    warehouse: Path,
    client: Client | None,
    *,
    target: Path | None = None,
    prefix: str = "",
    with_references: bool = True,
    progress: ProgressHook,
    concurrency: int = 8,
) -> tuple[Path, Fetched]:
    """Brings the files of a version to disk.

    Each file is checked against its digest before it takes its final name. A call that was killed
    is gone on with by the next. Without a client, or where W&B cannot be reached, the version is
    looked up in the warehouse and its files come from the cache.

    Args:
        name: What to get.
        warehouse: Folder of the warehouse, whose cache is used.
        client: Whom to ask; None asks nobody.
        target: Folder for the files; None makes `artifacts/COLLECTION:vN`.
        prefix: Only files whose path begins so.
        with_references: Whether references are fetched where that can be done.
        progress: Called as files come.
        concurrency: Files in flight.

    Returns:
        The folder, and what was done.

    Raises:
        NotFoundError: There is no such version, or the key may not see it, or no file fits.
        DownloadError: W&B was not asked, and the warehouse does not hold it.
        ApiError: W&B did not answer as it should.
    """
    from pathlib import Path as AnyPath

    try:
        version, manifest = await _look_up(name, warehouse, client)
    except TransportError as problem:
        client = None
        try:
            version, manifest = await _look_up(name, warehouse, None, why="W&B not reached")
        except DownloadError:
            raise problem from None
    folder = target or AnyPath("artifacts") / version.name
    entries = [e for e in manifest.entries if e.path.startswith(prefix)]
    if prefix and not entries:
        raise NotFoundError(
            f"{version.name}: {no_file_fits(prefix, [e.path for e in manifest.entries])}"
        )
    fetcher = Fetcher(warehouse, folder, client, progress, concurrency)
    fetcher.fetched.note = version.note
    plain = {e.path: e for e in entries if e.ref is None}

    async def addresses(items: Sequence[Item]) -> dict[str, str]:
        assert client is not None
        return await _addresses(client, version, manifest, [plain[i.name] for i in items])

    await fetcher.fetch(_items(plain, fetcher.fetched), addresses)
    for entry in entries:
        if entry.ref is not None:
            fetcher.fetched.references[entry.path] = entry.ref
    await _follow_links(fetcher, warehouse, client)
    if with_references and client is not None:
        links = [e for e in entries if e.path in fetcher.fetched.references]
        await fetch_references(links, folder, client, fetcher.fetched, progress)
    return folder, fetcher.fetched


def _items(entries: Mapping[str, Entry], fetched: Fetched) -> list[Item]:
    """Returns the files to fetch, by their paths; one whose content no digest proves fails."""
    found = []
    for path, entry in entries.items():
        if entry.digest is None:
            fetched.failed[path] = f"wbsync cannot check a digest like {entry.raw_digest!r:.60}"
        else:
            found.append(Item(path, entry.digest, entry.size))
    return found


async def _look_up(
    name: ArtifactName, warehouse: Path, client: Client | None, why: str = "W&B not asked"
) -> tuple[Version, Manifest]:
    if client is None:
        held = await asyncio.to_thread(find_held, warehouse, name)
        if held is None:
            raise DownloadError(
                f"{name} is not in this warehouse: sync its project, or get it with a network"
            )
        at = f"{held.synced_at:%Y-%m-%d %H:%M} UTC" if held.synced_at else "an unknown time"
        note = f"{why}; {name} is {held.name} as of the sync at {at}"
        version = Version(held.artifact_id, held.name, manifest_url=None, note=note)
    else:
        version = await find_version(client, name)
    return version, await read_manifest(client, version, warehouse)


async def find_version(client: Client, name: ArtifactName) -> Version:
    """Returns the version that a name stands for.

    Raises:
        NotFoundError: There is none, or the key may not see it.
        ConfigError: It is a registry's, and the organisation is not clear.
    """
    entity = await _entity_of(client, name)
    data = await client.execute(
        load_document("artifact_version"),
        {
            "entity": entity,
            "project": name.project,
            "name": f"{name.collection}:{name.alias}",
        },
    )
    project = data.get("project") or {}
    membership = project.get("artifactCollectionMembership") or {}
    artifact = membership.get("artifact") or project.get("artifact")
    if artifact is None or artifact.get("state") == "DELETED":
        raise NotFoundError(
            f"{name}: no such version on {client.base_url}, or this key may not see it",
            operation="ArtifactVersion",
        )
    index = membership.get("versionIndex", artifact.get("versionIndex"))
    return Version(artifact["id"], f"{name.collection}:v{index}", _manifest_url(artifact))


def _manifest_url(artifact: dict[str, Any]) -> str | None:
    manifest = artifact.get("currentManifest") or {}
    return (manifest.get("file") or {}).get("directUrl")


async def _entity_of(client: Client, name: ArtifactName) -> str:
    """Returns the entity that owns a name's project; a registry's is its organisation's."""
    if name.entity is not None and not name.is_registry:
        return name.entity
    viewer = (await client.execute(load_document("viewer"), {})).get("viewer") or {}
    own = viewer.get("entity") or viewer.get("username")
    if not name.is_registry:
        if not own:
            raise ConfigError(f"{name} names no entity; write ENTITY/{name}")
        return str(own)
    named = name.entity
    data = await client.execute(load_document("entity_organizations"), {"entity": named or own})
    entity = data.get("entity") or {}
    if named is not None and not entity:
        data = await client.execute(load_document("entity_organizations"), {"entity": own})
        entity = data.get("entity") or {}
    team = entity.get("organization")
    found = [team] if team else (entity.get("user") or {}).get("organizations") or []
    entities = {
        o["orgEntity"]["name"]: o.get("name") for o in found if o and (o.get("orgEntity") or {})
    }
    chosen = [e for e, label in entities.items() if named in {None, e, label}] or (
        list(entities) if named is not None and team else []
    )
    if len(chosen) == 1:
        return str(chosen[0])
    if named is not None and not chosen:
        return named
    raise ConfigError(
        f"{name}: which organisation's registry? write ORGANISATION/{REGISTRY_PREFIX}…/NAME:ALIAS;"
        f" this key belongs to {', '.join(sorted(entities)) or 'none'}"
    )


async def read_manifest(client: Client | None, version: Version, warehouse: Path) -> Manifest:
    """Returns a version's manifest, from the cache where it is there: it never changes.

    Raises:
        DownloadError: It is not in the cache, and there is nobody to ask.
        ExtractError: It cannot be read.
    """
    name = hashlib.sha256(version.artifact_id.encode()).hexdigest()
    path = warehouse / CACHE / "manifests" / f"{name}.json"
    if await asyncio.to_thread(path.is_file):
        try:
            return parse_manifest(await asyncio.to_thread(path.read_bytes))
        except ExtractError:
            await asyncio.to_thread(path.unlink)
    if client is None:
        raise DownloadError(f"the manifest of {version.name} is not in the cache: get it online")
    temporary = path.with_suffix(".part")
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    url = version.manifest_url
    for attempt in (1, 2):
        if url is None:
            data = await client.execute(
                load_document("artifact_by_id"), {"id": version.artifact_id}
            )
            url = _manifest_url(data.get("artifact") or {})
        if url is None:
            raise ExtractError(f"{version.name}: W&B has no manifest of it")
        try:
            await client.download(url, temporary)
            break
        except SignedUrlExpiredError:
            if attempt == 2:
                raise
            url = None
    manifest = parse_manifest(await asyncio.to_thread(temporary.read_bytes))
    await asyncio.to_thread(temporary.replace, path)
    return manifest


async def _addresses(
    client: Client, version: Version, manifest: Manifest, entries: Sequence[Entry]
) -> dict[str, str]:
    """Returns the signed address of each file, many to a request."""
    found: dict[str, str] = {}
    for start in range(0, len(entries), ENTRIES_PER_REQUEST):
        part = entries[start : start + ENTRIES_PER_REQUEST]
        variables = {
            "id": version.artifact_id,
            "entries": [
                {
                    "name": e.path,
                    "digest": e.raw_digest,
                    "birthArtifactID": e.birth_artifact_id or version.artifact_id,
                }
                for e in part
            ],
            "names": [e.path for e in part],
            "storageLayout": manifest.storage_layout,
            "manifestVersion": manifest.version,
            "storageRegion": manifest.storage_region,
            "perPage": len(part),
        }
        connection = await _file_connection(client, variables)
        found |= {n["name"]: n["directUrl"] for n in nodes_of(connection) if n.get("directUrl")}
    return found


async def _file_connection(client: Client, variables: dict[str, Any]) -> Any:
    field = "Artifact.filesByManifestEntries"
    if field not in client.capabilities.missing_fields:
        try:
            data = await client.execute(load_document("artifact_file_urls"), variables)
        except GraphQLError:
            if field not in client.capabilities.missing_fields:
                raise
        else:
            artifact = data.get("artifact") or {}
            if "filesByManifestEntries" in artifact:
                return artifact["filesByManifestEntries"]
    data = await client.execute(load_document("artifact_file_urls_by_name"), variables)
    return (data.get("artifact") or {}).get("files")


async def _follow_links(fetcher: Fetcher, warehouse: Path, client: Client | None) -> None:
    """Fetches entries that stand for a file of another version."""
    by_version: dict[str, dict[str, str]] = {}
    for path, ref in fetcher.fetched.references.items():
        match = _OTHER_ARTIFACT.fullmatch(ref)
        if match:
            try:
                raw = base64.b64encode(binascii.unhexlify(match["id"])).decode()
            except binascii.Error:
                continue
            by_version.setdefault(raw, {})[path] = match["path"]
    for artifact_id, paths in by_version.items():
        version = Version(artifact_id, artifact_id, None)
        try:
            manifest = await read_manifest(client, version, warehouse)
        except (ExtractError, DownloadError, NotFoundError) as error:
            fetcher.fetched.failed |= dict.fromkeys(paths, str(error))
            continue
        entries = {e.path: e for e in manifest.entries if e.ref is None}
        linked = {path: entries[inner] for path, inner in paths.items() if inner in entries}

        async def addresses(
            wanted: Sequence[Item],
            version: Version = version,
            manifest: Manifest = manifest,
            paths: dict[str, str] = paths,
            entries: dict[str, Entry] = entries,
        ) -> dict[str, str]:
            assert client is not None
            inner = [entries[paths[i.name]] for i in wanted]
            urls = await _addresses(client, version, manifest, inner)
            return {i.name: urls[paths[i.name]] for i in wanted if paths[i.name] in urls}

        await fetcher.fetch(_items(linked, fetcher.fetched), addresses)
        for path in linked:
            del fetcher.fetched.references[path]
