"""The sync: one warehouse, some sources, one report at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wbsync.api import Budget, Capabilities, Client
from wbsync.catalog import check_storage_version
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    BudgetSpentError,
    ConfigError,
    TransportError,
    WarehouseError,
    WbsyncError,
    first_error,
)
from wbsync.lake import open_warehouse
from wbsync.model import ProjectPath, Source, SyncOptions
from wbsync.progress import (
    ProjectEnded,
    Skipped,
    SyncFinished,
    SyncReport,
    SyncStarted,
)
from wbsync.sync.care import tidy
from wbsync.sync.context import Context, EntityContext, Tally, settled
from wbsync.sync.entity import keep_entity
from wbsync.sync.holding import opened
from wbsync.sync.ledger import keep_ledger
from wbsync.sync.lock import hold_within
from wbsync.sync.moves import follow_projects
from wbsync.sync.plan import still_aside
from wbsync.sync.project import sync_project
from wbsync.sync.sources import resolve_sources
from wbsync.sync.streams import ENTITY_STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from wbsync.api import Meter
    from wbsync.model import PublishOptions
    from wbsync.progress import ProgressHook, StillAside
    from wbsync.settings import Credentials
    from wbsync.state import State
    from wbsync.sync.holding import Holding
    from wbsync.sync.streams import EntityStream

_log = logging.getLogger(__name__)


async def sync(
    root: Path,
    sources: Sequence[str | Source],
    credentials: Credentials,
    *,
    progress: ProgressHook,
    concurrency: int = 4,
    options: SyncOptions | None = None,
    budget: Budget | None = None,
    wait_s: float = 0.0,
    published: PublishOptions | None = None,
) -> SyncReport:
    """Brings a warehouse in step with W&B.

    What was committed when an error or a cancellation ends it stays, is published, and is where
    the next sync goes on.

    Args:
        root: Folder of the warehouse; made where it is missing.
        sources: `ENTITY/PROJECT`, `ENTITY/GLOB`, or `ENTITY` for all its projects.
        credentials: Whom to ask, and the key.
        progress: Called with each event, from the event loop's thread.
        concurrency: Requests and downloads in flight.
        options: What to read of sources that are texts; None for everything.
        budget: Requests and time that it may take; None for no limit.
        wait_s: Seconds to wait for another sync to let go of the warehouse.
        published: What kind of file is published; None leaves it as it is.

    Raises:
        AuthenticationError: The server does not take the key.
        ConfigError: A source or an option cannot be used.
        NotFoundError: A source does not exist, or the key may not see it.
        LockedError: Another sync holds the warehouse.
        TransportError: The server cannot be reached.
        asyncio.CancelledError: The sync was interrupted.
    """
    wanted = parse_sources(sources, options)
    if published is not None and published.storage_version is not None:
        check_storage_version(published.storage_version)
    open_warehouse(root)
    async with hold_within(root, wait_s, progress):
        with patient_collector():
            return await _sync(root, wanted, credentials, progress, concurrency, budget, published)


async def _sync(
    root: Path,
    sources: Sequence[Source],
    credentials: Credentials,
    progress: ProgressHook,
    concurrency: int,
    budget: Budget | None,
    published: PublishOptions | None,
) -> SyncReport:
    with opened(root, progress) as holding:
        remembered = holding.state.capabilities(credentials.base_url)
        if all(source.options.full for source in sources):
            remembered = {}  # the server may have gained what it lacked
        known = Capabilities.from_json(remembered)
        async with Client.open(
            credentials, capabilities=known, concurrency=concurrency, budget=budget
        ) as client:
            return await _Sync(holding, client, progress, concurrency, published).run(sources)


def parse_sources(
    sources: Sequence[str | Source], options: SyncOptions | None = None
) -> list[Source]:
    """Returns sources, those that are texts with the options.

    Raises:
        ConfigError: There is none, or one names nothing.
    """
    if not sources:
        raise ConfigError("nothing to sync: name ENTITY/PROJECT or ENTITY")
    return [Source.parse(s, options) if isinstance(s, str) else s for s in sources]


class _Sync:
    """One call of sync."""

    def __init__(
        self,
        holding: Holding,
        client: Client,
        progress: ProgressHook,
        concurrency: int,
        published: PublishOptions | None,
    ) -> None:
        self._published = published
        self._holding = holding
        self._state = holding.state
        self._client = client
        self._scratch = holding.scratch
        self._progress = progress
        self._concurrency = concurrency
        self._lake = holding.lake
        self._sync_id = uuid.uuid4().hex[:12]
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)
        self._tallies: dict[ProjectPath | str, Tally] = {}
        """By project; by name for what belongs to an entity as a whole."""
        self._failed: list[Skipped] = []
        self._left: list[Skipped] = []
        """What was not begun when the budget was spent."""

    async def run(self, sources: Sequence[Source]) -> SyncReport:
        try:
            await self._sync_all(sources)
            outcome = "partial" if self._skipped() else "complete"
        except BudgetSpentError:
            outcome = "stopped"
        except BaseException as error:
            try:
                await self._end(
                    "interrupted" if isinstance(error, asyncio.CancelledError) else "failed"
                )
            except Exception as second:  # noqa: BLE001 it must not hide what went wrong first
                error.add_note(f"what was committed could not be published either: {second}")
            raise
        return await self._end(outcome)

    async def _end(self, outcome: str) -> SyncReport:
        """Publishes what was committed, however the sync ended, and reports."""
        self._state.remember_capabilities(
            self._client.base_url, self._client.capabilities.to_json()
        )
        await settled(self._publish)
        if outcome in {"complete", "partial"}:
            await settled(self._tidy)
        report = self._report(outcome)
        self._progress(SyncFinished(report))
        return report

    async def _sync_all(self, sources: Sequence[Source]) -> None:
        """Syncs the projects that the sources name, and then their entities.

        Raises:
            BudgetSpentError: Something is left to the next sync.
        """
        self._left = [Skipped(str(s.pattern), "not begun") for s in sources]
        projects = await resolve_sources(self._client, sources, self._follow)
        entities: dict[str, SyncOptions] = {}
        for project, options in projects.items():
            if entity_streams_of(options):
                entities.setdefault(project.entity, options)
        turns: list[ProjectPath | str] = [*projects, *entities]
        if self._client.budget.is_limited:
            # Those that wait longest come first: else the first ones would always eat the budget.
            done_at = last_ends(self._state)
            turns.sort(key=lambda turn: done_at.get(_log_key(turn), ""))
        self._left = [Skipped(str(turn), "not begun") for turn in turns]
        self._progress(SyncStarted(projects=tuple(str(p) for p in projects)))
        for turn in turns:
            del self._left[0]
            if isinstance(turn, ProjectPath):
                await self._sync_one(turn, projects[turn], alone=len(projects) == 1)
            else:
                await self._sync_entity(turn, entities[turn])
        self._failed += self._not_met(projects.values())

    def _not_met(self, chosen: Iterable[SyncOptions]) -> list[Skipped]:
        """Returns the runs that were asked for by id and are in none of the projects."""
        asked = frozenset[str]().union(*(options.selection.runs for options in chosen))
        tallies = [t for t in self._tallies.values() if t.selected is not None]
        met = frozenset[str]().union(*(t.selected or () for t in tallies))
        where = ", ".join(str(p) for p in self._tallies if isinstance(p, ProjectPath))
        return [Skipped(run, f"W&B shows no such run in {where}") for run in sorted(asked - met)]

    async def _sync_one(self, project: ProjectPath, options: SyncOptions, *, alone: bool) -> None:
        """Syncs a project; where it is one of several, its failure does not stop the others."""
        before = replace(self._client.meter)
        context = Context(
            client=self._client,
            lake=self._lake,
            state=self._state,
            scratch=self._scratch,
            entity=project.entity,
            project=project,
            progress=self._progress,
            concurrency=self._concurrency,
            options=options,
        )
        self._tallies[project] = context.tally
        outcome, problem = "failed", None
        try:
            await sync_project(context)
            outcome = "partial" if context.tally.skipped else "complete"
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        except BudgetSpentError:
            outcome = "stopped"
            context.tally.left = context.tally.left or Skipped(str(project), "not begun")
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
            self._progress(ProjectEnded(project=str(project), outcome=outcome))
            self._log(context.project, context, before, outcome, problem)

    async def _sync_entity(self, entity: str, options: SyncOptions) -> None:
        """Syncs what belongs to an entity as a whole."""
        before = replace(self._client.meter)
        context = self._entity_context(entity, options)
        self._tallies[entity] = context.tally
        outcome = "failed"
        try:
            for stream in entity_streams_of(options):
                context.stream = stream.tables[0]
                try:
                    await stream.run(context)
                except TransportError:
                    raise
                except ApiError as error:
                    context.skip(f"{entity} {', '.join(stream.tables)}", str(error))
            if context.entity_state is not None:
                await keep_entity(context)
            outcome = "partial" if context.tally.skipped else "complete"
        except BudgetSpentError:
            outcome = "stopped"
            context.tally.left = Skipped(entity, f"not done yet: {context.stream}")
            raise
        finally:
            self._log(entity, context, before, outcome, None)

    def _log(
        self,
        turn: ProjectPath | str,
        context: EntityContext,
        before: Meter,
        outcome: str,
        problem: str | None,
    ) -> None:
        """Writes the sync log's line of a project or an entity."""
        meter, tally = self._client.meter, context.tally
        entity, project = _log_key(turn)
        self._state.log_sync(
            {
                "sync_id": self._sync_id,
                "entity": entity,
                "project": project,
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

    async def _follow(self, entity: str, listed: dict[str, str | None], is_whole: bool) -> None:
        """Takes note of an entity's projects that were renamed or deleted."""
        await follow_projects(
            self._entity_context(entity, SyncOptions()), listed, is_whole=is_whole
        )

    def _entity_context(self, entity: str, options: SyncOptions) -> EntityContext:
        return EntityContext(
            client=self._client,
            lake=self._lake,
            state=self._state,
            scratch=self._scratch,
            entity=entity,
            progress=self._progress,
            concurrency=self._concurrency,
            options=options,
        )

    def _skipped(self) -> tuple[Skipped, ...]:
        found = (*self._failed, *(s for t in self._tallies.values() for s in t.skipped))
        return tuple(dict.fromkeys(found))

    def _set_aside(self) -> tuple[StillAside, ...]:
        """Returns the runs of these projects that rest after an earlier failure."""
        started = self._started_at
        return tuple(
            still_aside(run)
            for run in self._state.runs_set_aside()
            if ProjectPath(run.entity, run.project) in self._tallies and run.last_tried_at < started
        )

    def _publish(self) -> None:
        """Publishes what was committed, now or by a sync that was killed before it could."""
        keep_ledger(self._lake, self._state, datetime.now(UTC))
        self._holding.publish(self._published)

    def _tidy(self) -> None:
        """Looks after the lake in passing; what goes wrong there is no matter of this sync."""
        try:
            has_written = any(tally.commits for tally in self._tallies.values())
            tidy(self._holding, self._progress, has_written=has_written)
        except WarehouseError as error:
            _log.warning("the lake was not tidied: %s", error)

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
            runs_deleted=sum(t.runs_deleted for t in tallies),
            rows=rows,
            history_rows=sum(t.history_values for t in tallies),
            removed_from=tuple(sorted({table for t in tallies for table in t.removed_from})),
            skipped=self._skipped(),
            left=(*(t.left for t in tallies if t.left is not None), *self._left),
            set_aside=self._set_aside(),
            drift=tuple(d for t in tallies for d in t.drift),
            throttled=meter.throttled,
            retries=meter.retries,
        )


def entity_streams_of(options: SyncOptions) -> list[EntityStream]:
    """Returns the entity's streams that a sync with these options runs."""
    return [
        stream
        for stream in ENTITY_STREAMS
        if options.wants(stream.tables, on_request=stream.on_request) and not options.selection.runs
    ]


def _log_key(turn: ProjectPath | str) -> tuple[str, str]:
    """Returns the entity and the project of a line of the sync log; no project for an entity."""
    return (turn.entity, turn.project) if isinstance(turn, ProjectPath) else (turn, "")


def last_ends(state: State) -> dict[tuple[str, str], str]:
    """Returns (entity, project) to when its last sync that was not cut short ended, in ISO 8601."""
    return {
        (row["entity"], row["project"]): row["ended_at"]
        for row in state.sync_log()
        if row["outcome"] in {"complete", "partial"}
    }


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
