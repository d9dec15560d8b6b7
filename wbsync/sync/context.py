"""What every part of a sync shares: whom to ask, where to write, what was counted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from wbsync.api import load_document
from wbsync.errors import GraphQLError, RateLimitedError, ServerError, TransportError
from wbsync.model import SyncOptions
from wbsync.progress import CommitDone, RunSkipped, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.api import Client
    from wbsync.lake import Lake
    from wbsync.lake.delta import Filter
    from wbsync.model import ProjectPath, RunPath
    from wbsync.progress import Drift, ProgressHook
    from wbsync.state import State
    from wbsync.sync.entity_state import EntityState

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What the sync of one project or entity did, counted as it goes."""

    runs_seen: int = 0
    runs_changed: int = 0
    runs_deleted: int = 0
    history_values: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    removed_from: set[str] = field(default_factory=set)
    """Tables from which some commit took rows or in which it amended them, and wrote none."""
    skipped: list[Skipped] = field(default_factory=list)
    left: Skipped | None = None
    """What a sync that was stopped leaves to the next one."""
    selected: frozenset[str] | None = None
    """Runs that a selective sync met; None for a sync of all."""
    drift: list[Drift] = field(default_factory=list)
    commits: int = 0


@dataclass(slots=True, kw_only=True)
class EntityContext:
    """The sync of what belongs to an entity as a whole."""

    client: Client
    lake: Lake
    state: State
    scratch: Path
    """Folder for downloads; emptied when the sync ends."""
    entity: str
    progress: ProgressHook
    concurrency: int
    options: SyncOptions = field(default_factory=SyncOptions)
    synced_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    tally: Tally = field(default_factory=Tally)
    entity_state: EntityState | None = None
    """What W&B says of the entity, once a stream has asked."""
    whole: set[str] = field(default_factory=set)
    """Tables of the entity as a whole that this sync has read to their end."""
    stream: str = ""
    """First table of the stream that runs now."""
    failed: set[str] = field(default_factory=set)
    """Runs that this stream has set aside in this sync."""
    _writer: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def write(
        self,
        table: str,
        rows: pa.Table | Sequence[pa.Table],
        *,
        scope: pa.Table | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Commits rows to a table of the lake, one commit at a time.

        Args:
            table: Table to write.
            rows: Rows in the table's schema, in one part or several.
            scope: Rows that equal one of these in its columns are replaced; None appends.
            metadata: Commit metadata.
        """
        import pyarrow as pa

        parts = [rows] if isinstance(rows, pa.Table) else rows
        count = sum(part.num_rows for part in parts)
        if scope is None and count == 0 and not metadata:
            return
        async with self._writer:
            if scope is None:
                version: int | None = await settled(
                    lambda: self.lake.append(table, parts, metadata or {})
                )
            else:
                version = await settled(
                    lambda: self.lake.replace(table, scope, parts, metadata or {})
                )
        if version is None:
            return
        self.tally.commits += 1
        self.tally.rows[table] = self.tally.rows.get(table, 0) + count
        if scope is not None and not count:
            self.tally.removed_from.add(table)
        self.progress(CommitDone(table=table, rows=count))

    async def amend(
        self,
        table: str,
        filters: Sequence[Filter],
        values: Mapping[str, Any],
        metadata: dict[str, str] | None = None,
    ) -> bool:
        """Sets columns of some rows of a table; returns whether there were any."""
        async with self._writer:
            version = await settled(lambda: self.lake.amend(table, filters, values, metadata or {}))
        if version is None:
            return False
        self.tally.commits += 1
        self.tally.removed_from.add(table)
        self.progress(CommitDone(table=table, rows=0))
        return True

    def skip(self, what: str, reason: str) -> None:
        """Counts something that was left out, and says so."""
        self.tally.skipped.append(Skipped(what=what, reason=reason))
        self.progress(RunSkipped(run=what, reason=reason))

    def set_aside(self, run: RunPath, error: Exception) -> None:
        """Goes on without a run, which later syncs try again after growing pauses."""
        if run.run_id not in self.failed:
            self.failed.add(run.run_id)
            key, now = (run.entity, run.project, run.run_id), datetime.now(UTC).isoformat()
            self.state.set_aside(key, self.stream, str(error), now)
        self.skip(str(run), str(error))

    async def check_server(self, error: Exception) -> None:
        """Raises where an error is not the fault of what was asked: nothing else works either.

        Raises:
            RateLimitedError, ServerError, TransportError: So it is.
        """
        if isinstance(error, RateLimitedError):
            raise error
        if isinstance(error, (ServerError, TransportError)):
            with suppress(GraphQLError):
                await self.client.execute(load_document("viewer"), {}, max_attempts=2)


@dataclass(slots=True, kw_only=True)
class Context(EntityContext):
    """The sync of one project."""

    project: ProjectPath
    selected: frozenset[str] | None = None
    """Runs that the sync is about; None for all."""
    aside: frozenset[str] = frozenset()
    """Runs that the stream which runs now set aside in earlier syncs."""
    resting: frozenset[str] = frozenset()
    """Those of them that are not due yet."""

    def is_in_play(self, run_id: str) -> bool:
        """Says whether the stream that runs now is to look at a run."""
        return run_id not in self.resting and (self.selected is None or run_id in self.selected)


def project_filter(context: Context) -> list[Filter]:
    """Returns the lake filter for the context's project."""
    return [("entity", "=", context.project.entity), ("project", "=", context.project.project)]


async def settled(work: Callable[[], T]) -> T:
    """Returns the result of `work`, run in a thread and waited for even when cancelled.

    A commit that was begun is always seen to its end, so that Ctrl-C leaves nothing in doubt.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
