"""What a sync tells whoever watches it: frozen events, and the report at the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that a sync left out, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class StillAside:
    """A run that was set aside, and when it is tried again."""

    what: str
    stream: str
    """First table of the stream that could not take it."""
    reason: str
    attempts: int
    next_try_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that differed from W&B though a sync ought to have found it before; now mended."""

    table: str
    key: str
    """Key of the row, its parts joined by slashes."""
    field: str
    """Column; `*` where a row was missing, or held and gone."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did and what it cost."""

    projects: tuple[str, ...]
    outcome: str
    """complete, partial (some of it failed), stopped (the budget is spent), interrupted or
    failed."""
    requests: int
    """GraphQL requests, retries included; downloads from storage are not counted."""
    bytes_in: int
    """Bytes received, as they came over the wire."""
    seconds: float
    runs: int
    """Runs that the projects hold, or that a selective sync met."""
    runs_changed: int
    rows: dict[str, int]
    """Rows written, by table."""
    history_rows: int
    """History values written."""
    removed_from: tuple[str, ...] = ()
    """Tables from which rows went, or in which they were amended, with none written for them."""
    skipped: tuple[Skipped, ...] = ()
    """What failed in this sync."""
    left: tuple[Skipped, ...] = ()
    """What a sync that was stopped leaves to the next one."""
    set_aside: tuple[StillAside, ...] = ()
    """Runs that failed before and were not tried: they are not due yet."""
    drift: tuple[Drift, ...] = ()
    """What earlier syncs had missed."""
    throttled: int = 0
    """Times the server answered 429."""
    retries: int = 0
    runs_deleted: int = 0
    """Runs that W&B no longer has, as this sync found; `runs` does not count them."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        report = asdict(self)
        report["bytes"] = report.pop("bytes_in")
        report["projects"] = list(self.projects)
        for name in ("removed_from", "skipped", "left", "set_aside", "drift"):
            report[name] = list(report[name])
        return report


@dataclass(frozen=True, slots=True)
class SyncStarted:
    """The sources are known."""

    projects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another sync holds the warehouse; this one waits."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProjectStarted:
    """A project's turn has come."""

    project: str
    runs: int | None
    """Runs that pages will list; None where that is not known beforehand."""


@dataclass(frozen=True, slots=True)
class ProjectEnded:
    """A project is done with, or as far as it goes."""

    project: str
    outcome: str


@dataclass(frozen=True, slots=True)
class PageFetched:
    """A page of runs has come."""

    project: str
    rows: int


@dataclass(frozen=True, slots=True)
class RunsPlanned:
    """It is known which runs' history must be read."""

    project: str
    runs_total: int
    runs_to_fetch: int


@dataclass(frozen=True, slots=True)
class HistoryFetched:
    """Some of a run's history has come; the last of it where `is_last`."""

    run: str
    values: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class RunSkipped:
    """A run was left out."""

    run: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommitDone:
    """Rows were committed to a table."""

    table: str
    rows: int


@dataclass(frozen=True, slots=True)
class Working:
    """Long work on the warehouse itself goes on."""

    what: str
    """What is done, in a word or two."""
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class SyncFinished:
    """The sync has ended."""

    report: SyncReport = field()


@dataclass(frozen=True, slots=True)
class FileFetched:
    """A file of an artifact or a run has come, or a part of it."""

    name: str
    bytes: int
    is_last: bool


Event = (
    SyncStarted
    | Waiting
    | ProjectStarted
    | ProjectEnded
    | PageFetched
    | RunsPlanned
    | HistoryFetched
    | RunSkipped
    | CommitDone
    | Working
    | SyncFinished
    | FileFetched
)


class ProgressHook(Protocol):
    """Whoever wants to know how a sync goes."""

    def __call__(self, event: Event) -> None:
        """Takes an event; must return at once."""
