"""A stream that had nothing to do does not look again until a table that it depends on moves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.extract.rows import build_table
from wbsync.lake import Lake
from wbsync.model import ProjectPath, RunPath
from wbsync.state import State
from wbsync.sync import cursors as module
from wbsync.sync.cursors import Cursors

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PROJECT = ProjectPath("e", "p")


@dataclass(frozen=True, slots=True)
class Kept:
    """A cursor of a stream of its own."""

    word: str


def test_nothing_to_do_is_remembered_for_the_same_tables_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, cursors, another project and another version of wbsync each make it look again."""
    lake, state = Lake(tmp_path), State(tmp_path / "state.sqlite")
    cursors = Cursors(lake, state, "run_files")
    no_runs, no_files = build_table("runs", []), build_table("run_files", [])
    assert not cursors.is_settled(PROJECT, "runs")
    cursors.settle(PROJECT, "runs")
    assert cursors.is_settled(PROJECT, "runs")
    assert not cursors.is_settled(ProjectPath("e", "q"), "runs")
    assert not Cursors(lake, state, "console_logs").is_settled(PROJECT, "runs")
    lake.append("runs", no_runs, {"any": "commit"})
    assert not cursors.is_settled(PROJECT, "runs")
    cursors.settle(PROJECT, "runs")
    run = RunPath("e", "p", "r ☃")
    lake.append("run_files", no_files, Cursors.metadata({run: Kept("it's")}))
    assert not cursors.is_settled(PROJECT, "runs")
    cursors.catch_up()
    assert cursors.read(PROJECT, Kept) == {"r ☃": Kept("it's")}
    cursors.settle(PROJECT, "runs")
    assert Cursors(Lake(tmp_path), state, "run_files").is_settled(PROJECT, "runs")
    monkeypatch.setattr(module, "__version__", "99")
    assert not cursors.is_settled(PROJECT, "runs")
    state.close()


def test_a_mark_that_did_not_hold_once_never_holds_again(tmp_path: Path) -> None:
    """A lake from an older copy comes to the same versions again, with other content."""
    lake, state = Lake(tmp_path), State(tmp_path / "state.sqlite")
    cursors = Cursors(lake, state, "history")
    lake.append("runs", build_table("runs", []), {"any": "commit"})
    shutil.copytree(tmp_path / "lake", tmp_path / "copy")
    lake.append("runs", build_table("runs", []), {"any": "commit"})
    cursors.settle(PROJECT, "runs", "run_summary")
    shutil.rmtree(tmp_path / "lake")
    shutil.copytree(tmp_path / "copy", tmp_path / "lake")
    restored = Cursors(lake := Lake(tmp_path), state, "history")
    assert not restored.is_settled(PROJECT, "runs", "run_summary")
    lake.append("runs", build_table("runs", []), {"another": "commit"})
    assert not restored.is_settled(PROJECT, "runs", "run_summary")
    state.close()
