"""Fetches many files at once: from the cache, or from storage, going on where it was cut off.

A file comes into the cache under the digest of its content, and from there into the target folder;
it takes its final name only once its content has been checked. What was killed half way lies in
`partial/` and is gone on with.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wbsync.download.places import place_in
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    DigestError,
    RateLimitedError,
    SignedUrlExpiredError,
    TransportError,
    UnsafePathError,
)
from wbsync.lake.disk import clone, persist
from wbsync.progress import FileFetched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from wbsync.api import Client
    from wbsync.download.digests import Digest
    from wbsync.progress import ProgressHook

    Addresses = Callable[[Sequence["Item"]], Awaitable[dict[str, str]]]
    """Returns the signed address of each file that has one, by name."""

SHOWN_NAMES = 5
CACHE = "blobs"
"""Folder of the cache in the warehouse; removing it costs a download, nothing else."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file to fetch."""

    name: str
    """Path below the target folder, as W&B gives it."""
    digest: Digest | None
    """None where W&B does not say; then only the size is checked."""
    size: int | None


@dataclass(slots=True)
class Fetched:
    """What was done, file by file."""

    downloaded: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    """From the cache, without the network."""
    kept: list[str] = field(default_factory=list)
    """In the target folder already, with the right content."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name to reason."""
    references: dict[str, str] = field(default_factory=dict)
    """Name to address, of references that were left where they are."""
    bytes: int = 0
    """Bytes downloaded."""
    note: str | None = None
    """That W&B was not asked, and since when it may know better."""


class Fetcher:
    """Brings files into a folder."""

    def __init__(
        self,
        warehouse: Path,
        target: Path,
        client: Client | None,
        progress: ProgressHook,
        concurrency: int,
    ) -> None:
        """Takes where from and where to.

        Args:
            warehouse: Folder of the warehouse, which holds the cache.
            target: Folder for the files; made where it is missing.
            client: Whom to ask; None works from the cache alone.
            progress: Called as files come.
            concurrency: Files in flight.
        """
        self._cache = warehouse / CACHE
        self._target = target
        self._client = client
        self._progress = progress
        self._gate = asyncio.Semaphore(concurrency)
        self.fetched = Fetched()

    async def fetch(
        self,
        items: Sequence[Item],
        addresses: Addresses,
    ) -> None:
        """Fetches files; what fails is noted, and the rest goes on.

        Args:
            items: Files, each name once.
            addresses: Asks W&B where files are to be had.

        Raises:
            AuthenticationError, RateLimitedError, TransportError: No file could come any more.
        """
        await asyncio.to_thread(self._target.mkdir, parents=True, exist_ok=True)
        wanted = []
        for item in items:
            try:
                place = place_in(self._target, item.name)
                if await asyncio.to_thread(self._is_there, item, place):
                    self.fetched.kept.append(item.name)
                elif await asyncio.to_thread(self._from_cache, item, place):
                    self.fetched.cached.append(item.name)
                else:
                    wanted.append((item, place))
                    continue
            except (UnsafePathError, OSError) as error:
                self.fetched.failed[item.name] = str(error)
                continue
            self._progress(FileFetched(name=item.name, bytes=item.size or 0, is_last=True))
        if not wanted:
            return
        if self._client is None:
            for item, _ in wanted:
                self.fetched.failed[item.name] = "it is not in the cache, and W&B was not asked"
            return
        urls = await addresses([item for item, _ in wanted])
        try:
            async with asyncio.TaskGroup() as group:
                for item, place in wanted:
                    group.create_task(self._download(item, place, urls, addresses))
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from problems

    def _is_there(self, item: Item, place: Path) -> bool:
        if place.is_symlink() or not place.is_file():
            return False
        if item.size is not None and place.stat().st_size != item.size:
            return False
        return item.digest is not None and item.digest.matches(place)

    def _blob(self, digest: Digest) -> Path:
        return self._cache / digest.algorithm / digest.hex[:2] / digest.hex[2:]

    def _from_cache(self, item: Item, place: Path) -> bool:
        """Copies a file from the cache; what is damaged there is removed."""
        if item.digest is None:
            return False
        blob = self._blob(item.digest)
        if not blob.is_file():
            return False
        try:
            self._settle(blob, item, place)
        except DigestError:
            blob.unlink(missing_ok=True)
            return False
        return True

    def _settle(self, source: Path, item: Item, place: Path) -> None:
        """Copies a file beside its final place, checks it, and gives it its name."""
        temporary = place.with_name(f".{uuid.uuid4().hex}.part")
        try:
            clone(source, temporary)
            persist(temporary)
            _check(temporary, item)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)

    async def _download(
        self,
        item: Item,
        place: Path,
        urls: dict[str, str],
        addresses: Addresses,
    ) -> None:
        async with self._gate:
            try:
                await self._bring(item, place, urls.get(item.name), addresses)
            except (AuthenticationError, RateLimitedError, TransportError):
                raise
            except (ApiError, DigestError, OSError) as error:
                self.fetched.failed[item.name] = str(error)
                return
        self.fetched.downloaded.append(item.name)

    async def _bring(
        self,
        item: Item,
        place: Path,
        url: str | None,
        addresses: Addresses,
    ) -> None:
        from filelock import AsyncFileLock

        name = f"{item.digest.algorithm}-{item.digest.hex}" if item.digest else uuid.uuid4().hex
        partial = self._cache / "partial" / name
        await asyncio.to_thread(partial.parent.mkdir, parents=True, exist_ok=True)
        if item.digest is None:  # nobody else could go on with it
            try:
                await self._bring_by(partial, item, place, url, addresses)
            finally:
                await asyncio.to_thread(partial.unlink, missing_ok=True)
            return
        async with AsyncFileLock(f"{partial}.lock"):
            await self._bring_by(partial, item, place, url, addresses)
        with contextlib.suppress(OSError):
            (partial.parent / f"{name}.lock").unlink()

    async def _bring_by(
        self, partial: Path, item: Item, place: Path, url: str | None, addresses: Addresses
    ) -> None:
        """Brings a file by way of a partial one, which nobody else writes meanwhile."""
        assert self._client is not None
        if await asyncio.to_thread(self._from_cache, item, place):
            return
        for attempt in (1, 2):
            if url is None:
                url = (await addresses([item])).get(item.name)
            if url is None:
                raise ApiError("W&B gives no address for it")
            try:
                await self._client.download(
                    url, partial, resume=True, on_bytes=lambda count: self._heard(item, count)
                )
            except SignedUrlExpiredError:
                if attempt == 2:
                    raise
                url = None
                continue
            try:
                await asyncio.to_thread(_check, partial, item)
                break
            except DigestError:
                await asyncio.to_thread(partial.unlink, missing_ok=True)
                if attempt == 2:
                    raise
        await asyncio.to_thread(self._keep, partial, item, place)
        self._progress(FileFetched(name=item.name, bytes=0, is_last=True))

    def _heard(self, item: Item, count: int) -> None:
        self.fetched.bytes += count
        self._progress(FileFetched(name=item.name, bytes=count, is_last=False))

    def _keep(self, partial: Path, item: Item, place: Path) -> None:
        """Takes a checked file into the cache and into the target folder."""
        if item.digest is None:
            self._settle(partial, item, place)
            return
        blob = self._blob(item.digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(blob)
        self._settle(blob, item, place)


def _check(path: Path, item: Item) -> None:
    """Checks a file's size and content.

    Raises:
        DigestError: It is another file.
    """
    size = path.stat().st_size
    if item.size is not None and size != item.size:
        raise DigestError(f"{item.name}: {size} bytes came, {item.size} were logged")
    if item.digest is not None and not item.digest.matches(path):
        raise DigestError(f"{item.name}: its content is not what was logged")


def no_file_fits(wanted: str, names: Iterable[str]) -> str:
    """Returns what to say where no file has a name that was asked for.

    >>> no_file_fits("x*", ["b.txt", "a.txt"])
    "no file fits 'x*'; there are a.txt, b.txt"
    """
    known = sorted(names)
    if not known:
        return f"no file fits {wanted!r}: there are no files"
    more = f" and {len(known) - SHOWN_NAMES:,} more" if len(known) > SHOWN_NAMES else ""
    return f"no file fits {wanted!r}; there are {', '.join(known[:SHOWN_NAMES])}{more}"
