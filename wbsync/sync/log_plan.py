"""Decides what console output must be read, and from where: pages go in, cursors come out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wbsync.api import Pager
from wbsync.extract.logs import hash_of
from wbsync.model import RunPath
from wbsync.sync.plan import is_other_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from wbsync.extract.logs import Line
    from wbsync.model import ProjectPath
    from wbsync.sync.plan import Stored

COLUMNS = (
    "run_id", "storage_id", "state", "created_at", "heartbeat_at", "log_line_count", "branch_point",
    "deleted_at",
)  # fmt: skip
PAGE_LINES = 1000
"""As the document says; the wandb SDK asks for as many."""
TAIL_LINES = 100
"""Lines before the last one that a live run may still rewrite."""


@dataclass(frozen=True, slots=True)
class LogCursor:
    """How much of a run's console output is held, and where to look for what is new."""

    storage_id: str | None
    """None where the run's project was renamed since, or what is held is doubted."""
    branch_point: str | None
    lines: int
    """Number of the line after the last one held."""
    resume_after: str | None
    """Server's cursor for the page that a later read begins with; None for the first."""
    resume_line: int
    """Number of that page's first line."""
    tail_hash: str
    """Hash of the lines held from there on."""
    claimed: int | None
    """Lines that the run's row claimed when they were read."""
    state: str | None
    heartbeat_at: str | None
    is_complete: bool
    """Whether all that there were then have been read."""
    created_at: str | None = None
    """When the run was created; None where an older wbsync read them."""


@dataclass(slots=True)
class Reading:
    """A run on its way."""

    run: RunPath
    stored: Stored
    known: LogCursor | None
    """What is held and still counts."""
    reset: bool
    """Whether lines that are held belong to a timeline that is no more."""
    pager: Pager = field(default_factory=lambda: Pager("RunLogs", PAGE_LINES))
    next_line: int = 0
    window: list[tuple[str | None, list[Line]]] = field(default_factory=list)
    """The last pages, each with the cursor it came for: at least TAIL_LINES, if there are."""
    overlap: list[Line] | None = None
    """Lines read so far of those held already; None once they have been compared."""

    def __post_init__(self) -> None:
        if self.known is not None:
            self.pager = Pager("RunLogs", PAGE_LINES, start=self.known.resume_after)
            self.next_line = self.known.resume_line
            self.overlap = []

    def restarted(self) -> Reading:
        """Returns the reading of the run from its first line."""
        return Reading(self.run, self.stored, None, reset=True)

    @property
    def expected(self) -> int:
        """Lines that the next page is likely to hold."""
        claimed = self.stored["log_line_count"]
        missing = PAGE_LINES if claimed is None else claimed - self.next_line
        return max(1, min(missing, PAGE_LINES))

    def is_elsewhere(self, lines: list[Line]) -> bool:
        """Says whether a page is not the one that the cursor was kept for."""
        known = self.known
        if known is None or self.window or known.resume_after is None:
            return False
        return not lines or lines[0].number != known.resume_line

    def note(self, after: str | None, lines: list[Line]) -> None:
        """Takes a page."""
        self.window.append((after, lines))
        while len(self.window) > 1 and sum(len(p) for _, p in self.window[1:]) >= TAIL_LINES:
            del self.window[0]
        if lines:
            self.next_line = max(line.number for line in lines) + 1

    def cursor(self, *, is_complete: bool) -> LogCursor:
        """Returns how much is held once what was taken is."""
        tail = [line for _, page in self.window for line in page]
        return LogCursor(
            storage_id=self.stored["storage_id"],
            branch_point=self.stored["branch_point"],
            lines=self.next_line,
            resume_after=self.window[0][0] if self.window else None,
            resume_line=tail[0].number if tail else self.next_line,
            tail_hash=hash_of(tail),
            claimed=self.stored["log_line_count"],
            state=self.stored["state"],
            heartbeat_at=_text(self.stored["heartbeat_at"]),
            is_complete=is_complete,
            created_at=_text(self.stored["created_at"]),
        )


def plan_logs(
    project: ProjectPath, runs: Iterable[Stored], cursors: Mapping[str, LogCursor]
) -> Iterator[Reading]:
    """Yields the runs whose console output must be read.

    Args:
        project: Where the runs are.
        runs: Held runs, with COLUMNS.
        cursors: Run id to what is held.
    """
    for stored in runs:
        if stored["deleted_at"] is not None:
            continue
        known = cursors.get(stored["run_id"])
        claimed = stored["log_line_count"]
        path = RunPath(project.entity, project.project, stored["run_id"])
        if known is None:
            if claimed != 0:
                yield Reading(path, stored, None, reset=False)
        elif (
            is_other_run(stored, known)
            or (known.storage_id != stored["storage_id"] and not known.is_complete)
            or known.branch_point != stored["branch_point"]
            or (claimed or 0) < (known.claimed or 0)
        ):
            yield Reading(path, stored, None, reset=True)
        elif not known.is_complete or (claimed, stored["state"], _text(stored["heartbeat_at"])) != (
            known.claimed,
            known.state,
            known.heartbeat_at,
        ):
            yield Reading(path, stored, known, reset=False)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
