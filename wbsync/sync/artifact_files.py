"""Reads what files artifact versions hold: each version's manifest once, for it never changes.

Where the manifests are to be had is asked for many versions in one request; they come from the
storage host. A version whose manifest cannot be read is left out and tried again by the next sync.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.errors import ApiError, AuthenticationError, ExtractError, SignedUrlExpiredError
from wbsync.extract.manifests import build_manifest_rows
from wbsync.model import ArtifactPath
from wbsync.sync.batches import ask_each, lacks
from wbsync.sync.context import project_filter
from wbsync.sync.cursors import Cursors

if TYPE_CHECKING:
    import pyarrow as pa

    from wbsync.sync.batches import Answer
    from wbsync.sync.context import Context

TABLE = "artifact_files"
VERSIONS_PER_REQUEST = 100
COMMIT_FILES = 200_000
NEEDED = ("Query.artifact", "Artifact.currentManifest", "ArtifactManifest.file", "File.directUrl")


@dataclass(frozen=True, slots=True)
class ManifestCursor:
    """A manifest that was read."""

    files: int


@dataclass(frozen=True, slots=True)
class _Version:
    """A version whose manifest must be read."""

    path: ArtifactPath
    name: str


async def sync_artifact_files(context: Context) -> None:
    """Reads the manifests of the committed versions that were not read yet."""
    wanted = await asyncio.to_thread(_plan, context)
    reader = _Reader(context)
    try:
        for start in range(0, len(wanted), VERSIONS_PER_REQUEST):
            if any(lacks(context, field) for field in NEEDED):
                break
            await reader.read(wanted[start : start + VERSIONS_PER_REQUEST])
    finally:
        await reader.commit()


def count_unread(context: Context) -> int:
    """Returns how many held versions' manifests were not read yet."""
    return len(_plan(context))


def _plan(context: Context) -> list[_Version]:
    cursors, project = Cursors(context.lake, context.state, TABLE), context.project
    if cursors.is_settled(project, "artifacts"):
        return []
    cursors.catch_up()
    read = cursors.read(project, ManifestCursor)
    rows = context.lake.read(
        "artifacts",
        columns=["artifact_id", "collection", "version", "deleted_at"],
        filters=[*project_filter(context), ("state", "=", "COMMITTED")],
    )
    jobs = [
        _Version(
            ArtifactPath(project.entity, project.project, row["artifact_id"]),
            f"{project}/{row['collection']}:{row['version']}",
        )
        for row in rows.to_pylist()
        if row["deleted_at"] is None and row["artifact_id"] not in read
    ]
    if not jobs:
        cursors.settle(project, "artifacts")
    return jobs


class _Reader:
    """Asks for manifests, downloads them, and commits what they hold, many to a commit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gate = asyncio.Semaphore(context.concurrency)
        self._parser = asyncio.Lock()
        self._tables: list[pa.Table] = []
        self._cursors: dict[ArtifactPath, ManifestCursor] = {}

    async def read(self, versions: list[_Version]) -> None:
        """Reads the manifests of some versions."""
        answers = await self._ask(versions)
        if any(lacks(self._context, field) for field in NEEDED):
            return
        async with asyncio.TaskGroup() as group:
            for version, answer in zip(versions, answers, strict=True):
                group.create_task(self._read_one(version, answer))
        if sum(table.num_rows for table in self._tables) >= COMMIT_FILES:
            await self.commit()

    async def _ask(self, versions: list[_Version]) -> list[Answer]:
        return await ask_each(
            self._context,
            "artifact_manifests",
            [{"n": version.path.artifact_id} for version in versions],
            shared={},
            find=lambda data: data,
        )

    async def _read_one(self, version: _Version, answer: Answer) -> None:
        context = self._context
        async with self._gate:
            try:
                try:
                    table = await self._rows(version, answer)
                except SignedUrlExpiredError:
                    (again,) = await self._ask([version])
                    table = await self._rows(version, again)
            except AuthenticationError:
                raise
            except (ApiError, ExtractError) as error:
                context.skip(f"files of {version.name}", str(error))
                return
        self._tables.append(table)
        self._cursors[version.path] = ManifestCursor(table.num_rows)

    async def _rows(self, version: _Version, answer: Answer) -> pa.Table:
        if isinstance(answer, ApiError):
            raise answer
        with tempfile.NamedTemporaryFile(dir=self._context.scratch) as file:
            path = Path(file.name)
            await self._context.client.download(_address(answer), path)
            # One at a time: a manifest may name a million files.
            async with self._parser:
                return await asyncio.to_thread(self._parse, path, version.path)

    def _parse(self, path: Path, artifact: ArtifactPath) -> pa.Table:
        return build_manifest_rows(path.read_bytes(), artifact, self._context.synced_at)

    async def commit(self) -> None:
        """Commits what is gathered."""
        import pyarrow as pa

        tables, self._tables = self._tables, []
        cursors, self._cursors = self._cursors, {}
        if cursors:
            await self._context.write(
                TABLE, pa.concat_tables(tables), metadata=Cursors.metadata(cursors)
            )


def _address(answer: dict[str, Any] | None) -> str:
    """Returns where a manifest is to be had.

    Raises:
        ExtractError: W&B does not show the version, or it has no manifest.
    """
    if answer is None:
        raise ExtractError("W&B no longer shows this version")
    address = ((answer.get("currentManifest") or {}).get("file") or {}).get("directUrl")
    if not address:
        raise ExtractError("W&B has no manifest of this version")
    return str(address)
