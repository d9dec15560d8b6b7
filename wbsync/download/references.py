"""References: files that an artifact names and does not hold.

http and https are fetched as any file; what else fsspec can reach (s3, gs, abfs) is fetched where
it and the protocol's package are installed. A path of this machine is never followed: the manifest
comes from the server. What a web server gives is compared by the ETag and the size it was logged
with; W&B's SDK does the same.

Source: wandb/sdk/artifacts/storage_handlers/http_handler.py.
"""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wbsync.download.places import place_in
from wbsync.errors import ApiError, DownloadError, UnsafePathError
from wbsync.progress import FileFetched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wbsync.api import Client
    from wbsync.download.fetch import Fetched
    from wbsync.download.manifest import Entry
    from wbsync.progress import ProgressHook

WEB = frozenset({"http", "https"})
STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})


async def fetch_references(
    entries: Sequence[Entry], target: Path, client: Client, fetched: Fetched, progress: ProgressHook
) -> None:
    """Fetches the references that can be; those that cannot stay listed in `fetched`."""
    for entry in entries:
        assert entry.ref is not None
        scheme = urlsplit(entry.ref).scheme.lower()
        if scheme not in WEB | STORES:
            continue
        try:
            place = place_in(target, entry.path)
            temporary = place.with_name(f".{uuid.uuid4().hex}.part")
            try:
                if scheme in WEB:
                    await client.download(
                        entry.ref, temporary, on_headers=partial(_check_etag, entry)
                    )
                elif not await asyncio.to_thread(_from_store, entry.ref, temporary):
                    continue
                _check_size(entry, temporary)
                await asyncio.to_thread(temporary.replace, place)
            finally:
                temporary.unlink(missing_ok=True)
        except (ApiError, DownloadError, UnsafePathError, OSError) as error:
            fetched.failed[entry.path] = f"{entry.ref}: {error}"
            continue
        del fetched.references[entry.path]
        fetched.downloaded.append(entry.path)
        size = place.stat().st_size
        fetched.bytes += size
        progress(FileFetched(name=entry.path, bytes=size, is_last=True))


def _check_etag(entry: Entry, headers: Mapping[str, str]) -> None:
    """Checks that a web server names the version that was logged, where one was named then.

    The digest of such a reference is its ETag without the quotes, or else its own address.
    """
    etag = headers.get("etag", "").strip('"') or entry.ref
    if entry.raw_digest not in {etag, entry.ref}:
        raise DownloadError("its ETag is not the one it had when it was logged: it has changed")


def _check_size(entry: Entry, path: Path) -> None:
    """Checks the size; one that was logged unchecked has its address as digest, and no size."""
    if not entry.size and entry.raw_digest == entry.ref:
        return
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        raise DownloadError(f"it has {size} bytes now, {entry.size} when it was logged")


def _from_store(address: str, path: Path) -> bool:
    """Copies an object; False where nothing is installed that can."""
    try:
        import fsspec
    except ImportError:
        return False
    try:
        system: Any
        system, place = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError):
        return False
    system.get_file(place, str(path))
    return True
