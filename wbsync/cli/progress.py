"""Shows how long work goes: bars on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from wbsync.plain import plain
from wbsync.progress import (
    HistoryFetched,
    PageFetched,
    ProjectEnded,
    ProjectStarted,
    RunSkipped,
    RunsPlanned,
    SyncStarted,
    Waiting,
    Working,
)

if TYPE_CHECKING:
    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.progress import Event

LINE_EVERY_S = 5.0
PROJECT_BARS = ("runs", "history")


class Watcher:
    """A progress hook for one command; use it in a `with` statement.

    The bars are those of the project whose turn it is, below one for all projects where there are
    several.
    """

    def __init__(self, say: Diagnostics) -> None:
        self._say = say
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._projects = 0
        self._ended = 0
        self._project = ""
        self._runs = 0
        self._values = 0
        self._done = 0
        self._total = 0
        self._spoke_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._say.is_terminal() and not self._say.quiet:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True, no_color=not self._say.use_color()), transient=True,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Takes an event."""
        if isinstance(event, SyncStarted):
            self._projects = len(event.projects)
            if self._projects > 1:
                self._bar("projects", total=self._projects)
        elif isinstance(event, ProjectStarted):
            self._start(event)
        elif isinstance(event, ProjectEnded):
            self._ended += 1
            if self._projects > 1:
                self._bar("projects", advance=1)
        elif isinstance(event, PageFetched):
            self._runs += event.rows
            self._bar("runs", advance=event.rows)
        elif isinstance(event, RunsPlanned):
            self._total = event.runs_to_fetch
            self._bar("history", total=self._total)
        elif isinstance(event, HistoryFetched):
            self._values += event.values
            if event.is_last:
                self._done += 1
                self._bar("history", advance=1)
        elif isinstance(event, RunSkipped):
            self._say.note(f"skipped {event.run}: {event.reason}")
        elif isinstance(event, Waiting):
            self._say.note(f"waiting: {event.reason}")
        elif isinstance(event, Working):
            self._work(event)
            return
        self._line()

    def _work(self, event: Working) -> None:
        """Shows how work on the warehouse itself goes."""
        if self._bars is not None:
            self._bar(event.what, total=event.total)
            self._bars.update(self._tasks[event.what], completed=event.done)
        elif time.monotonic() - self._spoke_at >= LINE_EVERY_S:
            self._spoke_at = time.monotonic()
            self._say.note(f"{event.what}: {event.done:,} of {event.total:,}")

    def _start(self, event: ProjectStarted) -> None:
        """Begins a project's own bars and counts anew."""
        self._project = plain(event.project)
        self._runs = self._done = self._total = 0
        for name in PROJECT_BARS:
            if name in self._tasks:
                self._bars.remove_task(self._tasks.pop(name))
        self._bar("runs", total=event.runs)

    def _bar(self, name: str, *, total: int | None = None, advance: int = 0) -> None:
        if self._bars is None:
            return
        if name not in self._tasks:
            is_of_project = self._projects > 1 and name in PROJECT_BARS
            title = f"{self._project} {name}" if is_of_project else name
            self._tasks[name] = self._bars.add_task(title, total=total)
        self._bars.update(self._tasks[name], advance=advance)
        if total is not None:
            self._bars.update(self._tasks[name], total=total)

    def _line(self) -> None:
        now = time.monotonic()
        if self._bars is not None or now - self._spoke_at < LINE_EVERY_S:
            return
        self._spoke_at = now
        where = ""
        if self._projects > 1 and self._project:
            where = f"{min(self._ended + 1, self._projects)} of {self._projects}, {self._project}: "
        self._say.note(
            f"{where}{self._runs:,} runs read, history of {self._done:,} of {self._total:,} runs,"
            f" {self._values:,} values"
        )
