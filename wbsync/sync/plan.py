"""Decides what a sync must fetch: what is held and what the server says go in, jobs come out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from wbsync.model import ProjectPath, RunPath
from wbsync.progress import StillAside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from wbsync.state import SetAside
    from wbsync.sync.cursors import Cursor
    from wbsync.sync.log_plan import LogCursor

LIVE_STATES = ("running", "pending", "preempting", "preempted")
"""States of runs whose process may still write."""

LIGHT_FIELDS = {
    "id": "storage_id",
    "displayName": "display_name",
    "state": "state",
    "notes": "notes",
    "group": "group_name",
    "jobType": "job_type",
    "sweepName": "sweep_id",
    "historyLineCount": "history_line_count",
}
"""Fields of a light page that are compared as they are: W&B's name to ours."""

FIRST_PAUSE = timedelta(minutes=5)
LAST_PAUSE = timedelta(days=1)

INDEX_COLUMNS = (
    "run_id", "storage_id", "display_name", "state", "notes", "tags", "group_name", "job_type",
    "sweep_id", "created_at", "heartbeat_at", "updated_at", "history_line_count", "last_step",
    "event_line_count", "branch_point", "content_hash", "deleted_at",
)  # fmt: skip
"""Columns of runs that a sync needs of what is held."""

Stored = dict[str, Any]
"""A held run: INDEX_COLUMNS to values."""


def has_changed(
    node: Mapping[str, Any],
    stored: Stored | None,
    *,
    tags: str | None,
    heartbeat_at: datetime | None,
    updated_at: datetime | None,
) -> bool:
    """Says whether a run of a light page differs from what is held.

    Args:
        node: The run as the page gives it.
        stored: What is held, None for an unknown run.
        tags: The page's tags as the runs table writes them.
        heartbeat_at: The page's heartbeat.
        updated_at: The page's `updatedAt`.
    """
    if stored is None or stored["deleted_at"] is not None:
        return True
    if (stored["updated_at"], stored["heartbeat_at"]) != (updated_at, heartbeat_at):
        return True
    if (stored["tags"] or "[]") != (tags or "[]"):
        return True
    return any(
        (stored[column] or None) != (node.get(field) or None)
        for field, column in LIGHT_FIELDS.items()
        if field in node
    )


@dataclass(frozen=True, slots=True)
class HistoryJob:
    """One run whose history must be read."""

    run: RunPath
    cursor: Cursor | None
    """What is held; None where nothing is, or where what is held must go."""
    reset: bool
    """Whether rows that are held belong to a timeline that is no more."""
    timeline: int = 0
    """Number of the timeline that will be held: another one each time rows had to go."""
    floor: int = 0
    """Rows that are held and that nothing says are gone: an answer with fewer is not believed."""


def plan_history(
    project: ProjectPath,
    runs: Iterable[Stored],
    cursors: Mapping[str, Cursor],
    counted: Mapping[str, Cursor],
    logged_at: Mapping[str, float | None],
) -> Iterator[HistoryJob]:
    """Yields a job for each run of which less, more or other history is held than W&B claims.

    Args:
        project: Where the runs are.
        runs: Held runs.
        cursors: Run id to the cursor of its history.
        counted: Run id to the cursor at which its history_keys were written.
        logged_at: Run id to the time of the last row, of those runs that `may_be_rewritten` names.
    """
    for stored in runs:
        if stored["deleted_at"] is not None:
            continue
        run_id = stored["run_id"]
        cursor = cursors.get(run_id)
        path = RunPath(project.entity, project.project, run_id)
        if cursor is None:
            claimed_step = stored["last_step"]
            if stored["history_line_count"] or (claimed_step is not None and claimed_step >= 0):
                yield HistoryJob(path, None, reset=False)
        elif is_truncated(stored, cursor) or is_rewritten(cursor, logged_at.get(run_id)):
            yield HistoryJob(path, None, reset=True, timeline=cursor.timeline + 1)
        elif cursor.is_doubted:
            yield HistoryJob(path, None, True, cursor.timeline, floor=cursor.rows)
        elif not is_as_claimed(stored, cursor) or counted.get(run_id) != cursor:
            yield HistoryJob(path, cursor, reset=False, timeline=cursor.timeline)


def is_as_claimed(stored: Stored, cursor: Cursor) -> bool:
    """Says whether W&B claims the same as when all it had was read, or claims nothing."""
    rows, last_step = stored["history_line_count"], stored["last_step"]
    if cursor.claimed_rows is None:
        return False
    is_same_step = last_step == cursor.claimed_last_step or (last_step is None and rows != 0)
    return bool(rows is None or rows == cursor.claimed_rows) and is_same_step


def is_truncated(stored: Stored, cursor: Cursor) -> bool:
    """Says whether W&B now holds another run or timeline than the one a cursor speaks of."""
    if is_other_run(stored, cursor) or cursor.branch_point != stored["branch_point"]:
        return True
    if cursor.last_step is None and cursor.rows and stored["history_line_count"] is not None:
        # Rows without a step cannot be told from new ones.
        return not is_as_claimed(stored, cursor)
    if cursor.claimed_rows is None:
        return False
    rows, last_step = stored["history_line_count"], stored["last_step"]
    if rows is None:  # not claimed, which is not none
        return False
    is_lower = last_step is not None and last_step < _step(cursor.claimed_last_step)
    return rows < cursor.claimed_rows or is_lower


def is_other_run(stored: Stored, cursor: Cursor | LogCursor) -> bool:
    """Says whether a run was deleted and made again under its name."""
    created_at = stored["created_at"]
    return any(
        ours is not None and theirs is not None and ours != theirs
        for ours, theirs in (
            (cursor.storage_id, stored["storage_id"]),
            (cursor.created_at, created_at and created_at.isoformat()),
        )
    )


def may_be_rewritten(stored: Stored, cursor: Cursor | None) -> bool:
    """Says whether a run was heard of again, and yet claims what it claimed before.

    Either it logged nothing more; or it was rewound, and has logged as much again.
    """
    heartbeat_at = stored["heartbeat_at"]
    return (
        cursor is not None
        and cursor.heartbeat_at is not None
        and heartbeat_at is not None
        and cursor.heartbeat_at != heartbeat_at.isoformat()
        and is_as_claimed(stored, cursor)
    )


def is_rewritten(cursor: Cursor, logged_at: float | None) -> bool:
    """Says whether the last row was logged at another time than the last row held."""
    known = {cursor.logged_at, *cursor.tail[-1:]}
    return logged_at is not None and cursor.logged_at is not None and logged_at not in known


def _step(step: int | None) -> int:
    return -1 if step is None else step


def plan_events(
    project: ProjectPath,
    runs: Iterable[Stored],
    cursors: Mapping[str, Cursor],
    timelines: Mapping[str, int],
) -> Iterator[HistoryJob]:
    """Yields a job for each run whose count of system metric rows differs from what was read.

    Args:
        project: Where the runs are.
        runs: Held runs.
        cursors: Run id to the cursor of its system metrics.
        timelines: Run id to the number of the timeline of its history.
    """
    for stored in runs:
        claimed = stored["event_line_count"]
        cursor = cursors.get(stored["run_id"])
        if claimed is None or stored["deleted_at"] is not None or (cursor is None and claimed == 0):
            continue
        path = RunPath(project.entity, project.project, stored["run_id"])
        timeline = timelines.get(stored["run_id"], 0)
        if cursor is None:
            yield HistoryJob(path, None, reset=False, timeline=timeline)
        elif (
            cursor.is_doubted
            or is_other_run(stored, cursor)
            or cursor.timeline != timeline
            or claimed < (cursor.claimed_rows or 0)
        ):
            yield HistoryJob(path, None, reset=True, timeline=timeline)
        elif claimed != cursor.claimed_rows:
            yield HistoryJob(path, cursor, reset=False, timeline=timeline)


NO_END = 2**53
"""No run has a step so high: larger ones are not exact where they are doubles."""


@dataclass(frozen=True, slots=True)
class Window:
    """A range of steps to ask rows of, for the run at `job` in its batch."""

    job: int
    min_step: int
    max_step: int
    """First step not asked for."""
    samples: int
    """Rows to ask for: when as many come, some may have been sampled away."""

    @property
    def is_open(self) -> bool:
        """Whether it has no end."""
        return self.max_step == NO_END

    def halves(self) -> tuple[Window, ...]:
        """Returns what to ask instead when this window was too full."""
        width = self.max_step - self.min_step
        if width <= 1:
            return (Window(self.job, self.min_step, self.max_step, self.samples * 4),)
        middle = self.min_step + width // 2
        return (
            Window(self.job, self.min_step, middle, self.samples),
            Window(self.job, middle, self.max_step, self.samples),
        )


ROWS_PER_WINDOW = 5_000
ROWS_PER_REQUEST = 10_000
"""Rows that one answer may hold; a single run may have more."""
WINDOWS_PER_REQUEST = 50
EVENT_RUNS_PER_REQUEST = 100


def plan_windows(job: int, first_step: int, last_step: int, claimed_rows: int) -> list[Window]:
    """Returns the windows that cover the steps from `first_step` to `last_step`.

    Args:
        job: Index of the run in its batch.
        first_step: First step to read.
        last_step: Last step that W&B claims.
        claimed_rows: Rows of the whole run: says how dense its steps are.
    """
    if last_step < first_step:
        return []
    density = min(1.0, max(claimed_rows, 1) / (last_step + 1))
    width = max(1, int(ROWS_PER_WINDOW / density))
    return [
        Window(job, start, end, min(end - start, 2 * ROWS_PER_WINDOW) + 1)
        for start in range(first_step, last_step + 1, width)
        for end in (min(start + width, last_step + 1),)
    ]


def pack_windows(windows: Sequence[Window]) -> list[list[Window]]:
    """Returns the windows in order, as groups that one request each can ask for."""
    groups: list[list[Window]] = []
    rows = 0
    for window in windows:
        if (
            not groups
            or len(groups[-1]) >= WINDOWS_PER_REQUEST
            or rows + window.samples > ROWS_PER_REQUEST
        ):
            groups.append([])
            rows = 0
        groups[-1].append(window)
        rows += window.samples
    return groups


def pack_events(claimed: Sequence[int]) -> list[range]:
    """Returns the jobs in order, as ranges that one request each can ask for.

    Args:
        claimed: Rows to ask for, job by job.
    """
    groups: list[range] = []
    start = rows = 0
    for index, count in enumerate(claimed):
        is_full = rows + count > ROWS_PER_REQUEST or index - start == EVENT_RUNS_PER_REQUEST
        if index > start and is_full:
            groups.append(range(start, index))
            start, rows = index, 0
        rows += count
    return [*groups, range(start, len(claimed))] if claimed else []


def next_try_at(run: str, attempts: int, last_tried_at: datetime) -> datetime:
    """Returns when a run that was set aside is due again.

    The pause doubles from five minutes to a day. It is up to a quarter shorter or longer, by the
    run, so that runs that failed together do not come back together.
    """
    pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 20), LAST_PAUSE)
    share = zlib.crc32(f"{run} {attempts}".encode()) / 0xFFFFFFFF
    return last_tried_at + timedelta(seconds=pause.total_seconds() * (0.75 + share / 2))


def still_aside(run: SetAside) -> StillAside:
    """Returns what is said of a run that was set aside."""
    due_at = next_try_at(str(run), run.attempts, run.last_tried_at)
    return StillAside(str(run), run.stream, run.reason, run.attempts, due_at.isoformat())
