"""Keeps the list of runs' files in step with W&B.

The files of many runs are asked for in one request, page by page where a run has many. A run is
read again when its process has been heard of since, or its state is another. Edits of a run touch
no files; a file that is added to a run after its end shows in no cheap request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wbsync.api import Pager
from wbsync.errors import ApiError, ResponseShapeError
from wbsync.extract.files import build_file_rows
from wbsync.model import RunPath
from wbsync.sync.batches import ask_each, lacks
from wbsync.sync.context import project_filter
from wbsync.sync.cursors import Cursors
from wbsync.sync.inventory import project_variables, write_differences
from wbsync.sync.runs import read_index
from wbsync.sync.settled import settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wbsync.model import ProjectPath
    from wbsync.sync.context import Context
    from wbsync.sync.plan import Stored

TABLE = "run_files"
COLUMNS = ("run_id", "storage_id", "state", "heartbeat_at", "deleted_at")
RUNS_PER_REQUEST = 400
FILES_PER_REQUEST = 10_000
MAX_PAGE_ROWS = 1000
COMMIT_FILES = 5_000


@dataclass(frozen=True, slots=True)
class FileCursor:
    """The state of a run whose files were read."""

    storage_id: str | None
    """None where the run's project was renamed since: any is right."""
    state: str | None
    heartbeat_at: str | None
    files: int | None = field(default=None, compare=False)
    """Files that W&B listed; None where an older wbsync read them."""


@dataclass(slots=True)
class _Listing:
    """The files of a run, as far as they have come."""

    run: RunPath
    state: FileCursor
    pager: Pager
    nodes: list[dict[str, Any]] = field(default_factory=list)


def plan_files(
    project: ProjectPath, runs: Iterable[Stored], cursors: Mapping[str, FileCursor]
) -> Iterator[_Listing]:
    """Yields the runs whose files must be read.

    Args:
        project: Where the runs are.
        runs: Held runs, with COLUMNS.
        cursors: Run id to the state in which its files were read.
    """
    for stored in runs:
        heartbeat_at = stored["heartbeat_at"]
        state = FileCursor(
            stored["storage_id"],
            stored["state"],
            None if heartbeat_at is None else heartbeat_at.isoformat(),
        )
        read = cursors.get(stored["run_id"])
        if read is not None and read.storage_id is None:  # its project was renamed
            read = replace(read, storage_id=state.storage_id)
        if stored["deleted_at"] is None and read != state:
            path = RunPath(project.entity, project.project, stored["run_id"])
            yield _Listing(path, state, Pager("RunFiles", MAX_PAGE_ROWS))


async def sync_run_files(context: Context) -> None:
    """Reads the files of the runs that may have others than those held."""
    if lacks(context, "Run.files"):
        return
    cursors = Cursors(context.lake, context.state, TABLE)
    if await asyncio.to_thread(cursors.is_settled, context.project, "runs"):
        return
    runs = await asyncio.to_thread(read_index, context, COLUMNS)
    jobs = pending = await asyncio.to_thread(_due, context, cursors, runs)
    done: list[_Listing] = []
    try:
        while pending:
            batch, pending = pending[:RUNS_PER_REQUEST], pending[RUNS_PER_REQUEST:]
            unfinished = await _read(context, batch, done)
            pending = unfinished + pending
            if sum(len(listing.nodes) for listing in done) >= COMMIT_FILES:
                await _commit(context, done)
    finally:
        await _commit(context, done)
    again = {listing.run.run_id: runs[listing.run.run_id] for listing in jobs}
    left = await asyncio.to_thread(_due, context, cursors, again)
    await asyncio.to_thread(settle, context, cursors, runs, left, "runs")


def _due(context: Context, cursors: Cursors, runs: Mapping[str, Stored]) -> list[_Listing]:
    """Returns those of some runs whose files must be read."""
    cursors.catch_up()
    held = cursors.read(context.project, FileCursor, runs)
    return list(plan_files(context.project, runs.values(), held))


async def _read(context: Context, batch: list[_Listing], done: list[_Listing]) -> list[_Listing]:
    """Asks for a page of each run's files; returns the runs that have more."""
    answers = await ask_each(
        context,
        "run_files",
        [{"n": listing.run.run_id, "c": listing.pager.cursor} for listing in batch],
        shared={
            **project_variables(context),
            "perPage": min(FILES_PER_REQUEST // len(batch), MAX_PAGE_ROWS),
        },
        find=lambda data: data.get("project"),
    )
    unfinished: list[_Listing] = []
    for listing, answer in zip(batch, answers, strict=True):
        if isinstance(answer, ApiError):
            context.set_aside(listing.run, answer)
            continue
        if lacks(context, "Run.files"):
            continue
        try:
            page = listing.pager.take((answer or {}).get("files"))
        except ResponseShapeError as error:
            context.set_aside(listing.run, error)
            continue
        listing.nodes += page.nodes
        (unfinished if page.has_next else done).append(listing)
    return unfinished


async def _commit(context: Context, done: list[_Listing]) -> None:
    """Writes the files of the runs that are done, and marks those that W&B no longer lists."""
    listings = list(done)
    done.clear()
    if not listings:
        return
    rows = build_file_rows({x.run: x.nodes for x in listings}, context.synced_at)
    names = [x.run.run_id for x in listings]
    where = [*project_filter(context), ("run_id", "in", names)]
    held = await asyncio.to_thread(lambda: context.lake.read(TABLE, filters=where))
    await write_differences(
        context,
        TABLE,
        held,
        rows,
        key=["entity", "project", "run_id", "name"],
        metadata=Cursors.metadata({x.run: replace(x.state, files=len(x.nodes)) for x in listings}),
    )
