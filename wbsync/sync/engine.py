"""The sync: one warehouse, some sources, one report at the end."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.api import Capabilities, Client, iter_pages, load_document
from wbsync.catalog import publish
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    ConfigError,
    LockedError,
    NotFoundError,
    TransportError,
    WbsyncError,
)
from wbsync.lake import Lake, open_warehouse
from wbsync.model import ProjectPath, SyncOptions
from wbsync.progress import Skipped, SyncFinished, SyncReport, SyncStarted
from wbsync.state import State
from wbsync.sync.context import Context, EntityContext, Tally, settled
from wbsync.sync.project import sync_project
from wbsync.sync.streams import ENTITY_STREAMS
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from wbsync.progress import ProgressHook
    from wbsync.settings import Credentials


async def sync(
    root: Path,
    sources: Sequence[str],
    credentials: Credentials,
    *,
    progress: ProgressHook,
    concurrency: int = 4,
    options: SyncOptions | None = None,
) -> SyncReport:
    """Brings a warehouse in step with W&B.

    What was committed when an error or a cancellation ends it stays, is published, and is where
    the next sync goes on.

    Args:
        root: Folder of the warehouse; made where it is missing.
        sources: `ENTITY/PROJECT`, or `ENTITY` for all its projects.
        credentials: Whom to ask, and the key.
        progress: Called with each event, from the event loop's thread.
        concurrency: Requests and downloads in flight.
        options: What to read; None for everything.

    Raises:
        AuthenticationError: The server does not take the key.
        ConfigError: A source or an option cannot be used.
        NotFoundError: A source does not exist, or the key may not see it.
        LockedError: Another sync holds the warehouse.
        TransportError: The server cannot be reached.
        asyncio.CancelledError: The sync was interrupted.
    """
    if not sources:
        raise ConfigError("nothing to sync: name ENTITY/PROJECT or ENTITY")
    for source in sources:
        if "/" in source or not source.strip():
            ProjectPath.parse(source)
    open_warehouse(root)
    with hold(root), patient_collector():
        state = State(root / "state.sqlite")
        scratch = _make_scratch(root)
        try:
            known = Capabilities.from_json(state.capabilities(credentials.base_url))
            async with Client.open(
                credentials, capabilities=known, concurrency=concurrency
            ) as client:
                run = _Sync(
                    root, state, client, scratch, progress, concurrency, options or SyncOptions()
                )
                return await run.run(sources)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            state.close()


def _make_scratch(root: Path) -> Path:
    """Returns a new folder for downloads, and removes those of syncs that were killed."""
    for leftover in root.glob("scratch-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="scratch-", dir=root))


class _Sync:
    """One call of sync."""

    def __init__(
        self,
        root: Path,
        state: State,
        client: Client,
        scratch: Path,
        progress: ProgressHook,
        concurrency: int,
        options: SyncOptions,
    ) -> None:
        self._options = options
        self._root = root
        self._state = state
        self._client = client
        self._scratch = scratch
        self._progress = progress
        self._concurrency = concurrency
        self._lake = Lake(root)
        self._sync_id = uuid.uuid4().hex[:12]
        self._started = time.monotonic()
        self._tallies: dict[ProjectPath | str, Tally] = {}
        """By project; by name for what belongs to an entity as a whole."""
        self._failed: list[Skipped] = []

    async def run(self, sources: Sequence[str]) -> SyncReport:
        outcome = "failed"
        try:
            projects = await self._projects(sources)
            self._progress(SyncStarted(projects=tuple(str(p) for p in projects)))
            for project in projects:
                await self._sync_one(project, alone=len(projects) == 1)
            for entity in dict.fromkeys(p.entity for p in projects):
                await self._sync_entity(entity)
            outcome = "partial" if self._skipped() else "complete"
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        finally:
            self._state.remember_capabilities(
                self._client.base_url, self._client.capabilities.to_json()
            )
            await settled(self._publish)
            report = self._report(outcome)
            self._progress(SyncFinished(report))
        return report

    async def _projects(self, sources: Sequence[str]) -> list[ProjectPath]:
        """Returns the projects that the sources name, each once."""
        projects: dict[ProjectPath, None] = {}
        for source in sources:
            if "/" in source:
                projects[ProjectPath.parse(source)] = None
                continue
            found = 0
            async for page in iter_pages(
                self._client,
                load_document("projects"),
                {"entity": source},
                connection=lambda data: data.get("models") or {"edges": []},
                page_rows=200,
            ):
                for node in page.nodes:
                    found += 1
                    projects[ProjectPath(source, node["name"])] = None
            if not found:
                raise NotFoundError(
                    f"{source}: no such entity on {self._client.base_url}, or it has no project"
                    " that this key may see"
                )
        return list(projects)

    async def _sync_one(self, project: ProjectPath, *, alone: bool) -> None:
        """Syncs a project; where it is one of several, its failure does not stop the others."""
        meter = self._client.meter
        before = replace(meter)
        context = Context(
            client=self._client,
            lake=self._lake,
            state=self._state,
            scratch=self._scratch,
            entity=project.entity,
            project=project,
            progress=self._progress,
            concurrency=self._concurrency,
            options=self._options,
        )
        self._tallies[project] = context.tally
        outcome, problem = "failed", None
        try:
            await sync_project(context)
            outcome = "partial" if context.tally.skipped else "complete"
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        except BaseExceptionGroup as group:
            error = first_error(group)
            problem = str(error)
            if isinstance(error, asyncio.CancelledError):
                outcome = "interrupted"
            raise error from group
        except (AuthenticationError, TransportError) as error:
            problem = str(error)
            raise
        except ApiError as error:
            problem = str(error)
            if alone:
                raise
            self._failed.append(Skipped(what=str(project), reason=problem))
        except WbsyncError as error:
            problem = str(error)
            raise
        finally:
            tally = context.tally
            self._state.log_sync(
                {
                    "sync_id": self._sync_id,
                    "entity": project.entity,
                    "project": project.project,
                    "started_at": context.synced_at.isoformat(),
                    "ended_at": datetime.now(UTC).isoformat(),
                    "outcome": outcome,
                    "requests": meter.requests - before.requests,
                    "bytes_in": meter.bytes_in - before.bytes_in,
                    "runs_seen": tally.runs_seen,
                    "runs_changed": tally.runs_changed,
                    "history_rows": tally.history_values,
                    "skipped": len(tally.skipped),
                    "error": problem,
                }
            )

    async def _sync_entity(self, entity: str) -> None:
        """Syncs what belongs to an entity as a whole."""
        context = EntityContext(
            client=self._client,
            lake=self._lake,
            state=self._state,
            scratch=self._scratch,
            entity=entity,
            progress=self._progress,
            concurrency=self._concurrency,
            options=self._options,
        )
        self._tallies[entity] = context.tally
        for stream in ENTITY_STREAMS:
            if not self._options.wants(stream.tables, on_request=stream.on_request):
                continue
            try:
                await stream.run(context)
            except TransportError:
                raise
            except ApiError as error:
                context.skip(f"{entity} {', '.join(stream.tables)}", str(error))

    def _skipped(self) -> tuple[Skipped, ...]:
        return (*self._failed, *(s for t in self._tallies.values() for s in t.skipped))

    def _publish(self) -> None:
        """Publishes what was committed, now or by a sync that was killed before it could."""
        publish(self._root, self._lake, sync_log=sync_log_table(self._state))

    def _report(self, outcome: str) -> SyncReport:
        meter = self._client.meter
        tallies = self._tallies.values()
        rows: dict[str, int] = {}
        for tally in tallies:
            for table, count in tally.rows.items():
                rows[table] = rows.get(table, 0) + count
        return SyncReport(
            projects=tuple(str(p) for p in self._tallies if isinstance(p, ProjectPath)),
            outcome=outcome,
            requests=meter.requests,
            bytes_in=meter.bytes_in,
            seconds=round(time.monotonic() - self._started, 3),
            runs=sum(t.runs_seen for t in tallies),
            runs_changed=sum(t.runs_changed for t in tallies),
            rows=rows,
            history_rows=sum(t.history_values for t in tallies),
            skipped=self._skipped(),
            throttled=meter.throttled,
            retries=meter.retries,
        )


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the error of a group that says most: an authentication error before others."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((e for e in leaves if isinstance(e, AuthenticationError)), leaves[0])


def sync_log_table(state: State) -> pa.Table:
    """Returns the sync log in its table's schema."""
    import pyarrow as pa

    rows = state.sync_log()
    for row in rows:
        for name in ("started_at", "ended_at"):
            row[name] = datetime.fromisoformat(row[name]) if row[name] else None
    return pa.Table.from_pylist(rows, schema=load_table("sync_log").arrow())


@contextmanager
def patient_collector() -> Iterator[None]:
    """Has Python's garbage collector look less often while pages of runs are decoded.

    A page makes a hundred thousand objects, none of them in cycles: measured, collecting in between
    costs four times what decoding does.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Holds the warehouse for one sync.

    Raises:
        LockedError: Another process holds it; the message says which.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".lock")
    holder = root / ".lock-holder.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(
            f"{root}: another sync{_describe(holder)} holds this warehouse; wait until it has ended"
        ) from None
    try:
        facts: dict[str, Any] = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
        holder.write_text(json.dumps(facts), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_text(encoding="utf-8"))
        return f" (process {int(facts['pid'])}, since {facts['since']})"
    except (OSError, ValueError, KeyError):
        return ""
