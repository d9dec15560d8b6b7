"""One run on its way: what the server said of its history, and what has been read since.

Decides, without I/O, from where a run is read, whether what came is what W&B claims, and how it is
to be read once more where it is not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from wbsync.checksum import Content
from wbsync.extract.history import Held, add_stats, last_step_of
from wbsync.sync.cursors import Cursor
from wbsync.sync.plan import LIVE_STATES, HistoryJob, Window, plan_windows

if TYPE_CHECKING:
    from wbsync.extract.history import HistoryBatch, KeyStats, Tail
    from wbsync.sync.plan import Stored

Way = Literal["more", "whole", "rows", "last"]
"""How a run is read. more: from where it is held. whole: from its first row. Where that gives too
few and rows are live below the last one exported, as several writers make them, rows: without
exports; and where that gives fewer, last: as before."""


@dataclass(slots=True)
class Reading:
    """One run on its way: what the server said, and what has been read since."""

    job: HistoryJob
    stored: Stored
    logged_at: float | None = None
    claimed_rows: int = 0
    is_claimed: bool = True
    """Whether W&B says how many rows there are."""
    claimed_last_step: int | None = None
    history_keys: Any = None
    urls: list[str] = field(default_factory=list)
    first_live_step: int | None = None
    last_live_step: int | None = None
    rows: int = 0
    last_step: int | None = None
    tail: Tail = ()
    stats: KeyStats = field(default_factory=dict)
    floor: int = 0
    """Rows that are held and that nothing says are gone."""
    is_rewritten: bool = False
    is_complete: bool = False
    """Whether all that W&B has was read."""
    sources: set[str] = field(default_factory=set)
    """Whence rows came: export, rows."""
    content: Content | None = field(default_factory=Content)
    """What is held amounts to; None where what was held before was never counted."""
    way: Way = "more"
    rows_before: int = 0
    """Rows that the last try gave."""
    error: Exception | None = None

    @classmethod
    def of(cls, job: HistoryJob, stored: Stored, logged_at: float | None) -> Reading:
        """Returns a run as it is before anything was read."""
        cursor = job.cursor
        if cursor is None:
            return cls(job, stored, logged_at, way="whole", floor=job.floor)
        return cls(
            job,
            stored,
            logged_at,
            floor=cursor.rows,
            rows=cursor.rows,
            last_step=cursor.last_step,
            tail=cursor.tail,
            content=cursor.content,
        )

    @property
    def source(self) -> str | None:
        """Returns whence all that is held came, None for nothing."""
        cursor = self.job.cursor
        before = (cursor.source or "").split("+") if cursor is not None else []
        return "+".join(sorted({*self.sources, *before} - {""})) or None

    @property
    def held(self) -> Held | None:
        """Returns up to where the run is held after what was read so far."""
        return None if self.last_step is None else Held(self.last_step, self.tail)

    @property
    def is_readable(self) -> bool:
        """Whether rows of it are to be asked for."""
        return self.error is None and not self.is_rewritten and not self.is_current

    @property
    def is_live_from_here(self) -> bool:
        """Whether every row beyond those held is live, if steps only grow."""
        first = self.first_live_step
        return first is not None and self.last_step is not None and first <= self.last_step + 1

    @property
    def first_to_ask(self) -> int | None:
        """Returns the step from which on live rows are to be asked for, None for none."""
        if self.way == "rows":
            return 0
        if self.first_live_step is None or self.last_step is None:
            return self.first_live_step
        return max(self.first_live_step, self.last_step)

    @property
    def is_current(self) -> bool:
        """Whether all was read before, and only its keys are to be counted."""
        cursor = self.job.cursor
        claims = (self.claimed_rows, self.claimed_last_step)
        return cursor is not None and claims == (cursor.claimed_rows, cursor.claimed_last_step)

    @property
    def is_off(self) -> bool:
        """Whether other rows are held than W&B claims, as far as it gave all before."""
        cursor = self.job.cursor
        surplus = self.rows - self.claimed_rows
        known = 0 if cursor is None else cursor.rows - (cursor.claimed_rows or cursor.rows)
        is_over = self.stored["state"] not in LIVE_STATES
        return self.is_rewritten or (
            self.is_claimed
            and not self.is_current
            and (surplus < min(known, 0) or (is_over and surplus > max(known, 0)))
        )

    @property
    def is_believable(self) -> bool:
        """Whether what was read may be all there is.

        No rows where W&B claims some, or fewer than it gave before, are a bad moment of the server
        rather than the truth.
        """
        is_all = self.is_claimed and self.rows >= self.claimed_rows
        return is_all or self.rows >= max(1, self.floor)

    @property
    def ends_early(self) -> bool:
        """Whether what is missing may be the last rows."""
        claimed = self.claimed_last_step
        return claimed is not None and claimed > (-1 if self.last_step is None else self.last_step)

    def take(self, batch: HistoryBatch) -> None:
        """Counts rows that were read."""
        self.rows += batch.rows
        if self.content is not None:
            self.content += batch.content
        if batch.last_step is not None:
            is_same = batch.last_step == self.last_step
            self.tail = self.tail + batch.tail if is_same else batch.tail
            self.last_step = batch.last_step
        for key, (count, last_step) in batch.key_stats.items():
            add_stats(self.stats, key, count, last_step)

    def cursor(self) -> Cursor:
        """Returns how far the run is held after what was read so far."""
        stored, is_complete = self.stored, self.is_complete
        created_at, heartbeat_at = stored["created_at"], stored["heartbeat_at"]
        return Cursor(
            storage_id=stored["storage_id"],
            last_step=self.last_step,
            rows=self.rows,
            claimed_rows=self.claimed_rows if is_complete else None,
            claimed_last_step=self.claimed_last_step if is_complete else None,
            branch_point=stored["branch_point"],
            created_at=created_at and created_at.isoformat(),
            tail=self.tail,
            heartbeat_at=heartbeat_at and heartbeat_at.isoformat() if is_complete else None,
            logged_at=self.logged_at if is_complete else None,
            timeline=self.job.timeline,
            source=self.source,
            **({} if self.content is None else asdict(self.content)),
        )

    def next_try(self) -> Reading | None:
        """Returns the run as it is to be read once more, None where that would not help."""
        if self.way == "more":
            return self._anew("whole")
        if self.way == "whole" and self.urls and self.rows < self.claimed_rows:
            is_mixed = self.first_live_step is not None and self.last_step is not None
            if is_mixed and self.first_live_step <= self.last_step:  # type: ignore[operator]
                return self._anew("rows")
        if self.way == "rows" and self.rows < self.rows_before:
            return self._anew("last")
        return None

    def _anew(self, way: Way) -> Reading:
        job, timeline = self.job, self.job.timeline + (self.job.cursor is not None)
        return replace(
            self, way=way, rows_before=self.rows, rows=0, last_step=None, tail=(), stats={},
            content=Content(),
            job=HistoryJob(job.run, None, reset=True, timeline=timeline),
            floor=0 if self.is_rewritten else self.floor, is_rewritten=False, sources=set(),
        )  # fmt: skip


def narrowed(window: Window, rows: list[Any]) -> list[Window]:
    """Returns what to ask instead of a window that gave as many rows as it may."""
    if not window.is_open:
        return list(window.halves())
    last = last_step_of(rows)
    if last is None:
        return []
    return [
        *plan_windows(window.job, window.min_step, last, len(rows)),
        replace(window, min_step=last + 1),
    ]
