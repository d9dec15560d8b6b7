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
class SyncReport:
    """What a sync did and what it cost."""

    projects: tuple[str, ...]
    outcome: str
    """complete, partial, interrupted or failed."""
    requests: int
    """GraphQL requests and downloads, retries included."""
    bytes_in: int
    """Bytes received, as they came over the wire."""
    seconds: float
    runs: int
    """Runs that the projects hold."""
    runs_changed: int
    rows: dict[str, int]
    """Rows written, by table."""
    history_rows: int
    """History values written."""
    skipped: tuple[Skipped, ...] = ()
    throttled: int = 0
    """Times the server answered 429."""
    retries: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        report = asdict(self)
        report["bytes"] = report.pop("bytes_in")
        report["projects"] = list(self.projects)
        report["skipped"] = [asdict(s) for s in self.skipped]
        return report


@dataclass(frozen=True, slots=True)
class SyncStarted:
    """The sources are known."""

    projects: tuple[str, ...]


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
    | PageFetched
    | RunsPlanned
    | HistoryFetched
    | RunSkipped
    | CommitDone
    | SyncFinished
    | FileFetched
)


class ProgressHook(Protocol):
    """Whoever wants to know how a sync goes."""

    def __call__(self, event: Event) -> None:
        """Takes an event; must return at once."""
