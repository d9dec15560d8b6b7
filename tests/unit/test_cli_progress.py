"""What is shown while a sync of several projects runs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from wbsync.cli import progress
from wbsync.cli.diagnostics import Diagnostics
from wbsync.cli.progress import Watcher
from wbsync.progress import (
    HistoryFetched,
    PageFetched,
    ProjectEnded,
    ProjectStarted,
    RunsPlanned,
    SyncStarted,
    Waiting,
)

if TYPE_CHECKING:
    import pytest

    from wbsync.progress import Event

EVENTS: list[Event] = [
    Waiting("another sync holds it"),
    SyncStarted(("t/a", "t/b\x1b[31m")),
    ProjectStarted("t/a", 2),
    PageFetched("t/a", 2),
    RunsPlanned("t/a", 2, 1),
    HistoryFetched("t/a/r", 30, is_last=True),
    ProjectEnded("t/a", "complete"),
    ProjectStarted("t/b\x1b[31m", None),
    PageFetched("t/b", 5),
    ProjectEnded("t/b", "complete"),
]


def test_lines_say_which_project_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal: a line names the project, its place among all, and its own counts."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with Watcher(Diagnostics()) as watcher:
        for event in EVENTS:
            watcher(event)
    said = capsys.readouterr().err
    assert said.startswith("waiting: another sync holds it\n")
    assert "1 of 2, t/a: 2 runs read, history of 1 of 1 runs, 30 values\n" in said
    assert "2 of 2, t/b: 5 runs read, history of 0 of 0 runs, 30 values\n" in said
    assert "\x1b" not in said


def test_bars_are_a_projects_own_below_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: each project begins its bars anew, the bar of all projects goes on."""
    monkeypatch.setattr(Diagnostics, "is_terminal", lambda _: True)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    shown: list[dict[str, Any]] = []
    with Watcher(Diagnostics()) as watcher:
        for event in EVENTS:
            watcher(event)
            tasks = watcher._bars.tasks
            shown.append({t.description: (t.completed, t.total) for t in tasks})
    assert shown[5] == {"projects": (0, 2), "t/a runs": (2, 2), "t/a history": (1, 1)}
    assert shown[7] == {"projects": (1, 2), "t/b runs": (0, None)}
    assert shown[-1]["projects"] == (2, 2)
