"""Servers whose clock, filters, pages or exports are not what one would like."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.lake import Lake
from wbsync.progress import PageFetched
from wbsync.sandbox.process import Sandbox
from wbsync.sync import runs as runs_module
from wbsync.sync import segments as segments_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Account = Any
    HeldContent = Callable[[Any, str], dict[str, Any]]


def rows(first: int, count: int, key: str = "loss") -> list[dict[str, Any]]:
    """Returns logged rows from a step on."""
    return [
        {"_step": step, "_timestamp": 1.7e9 + step, key: step / 2}
        for step in range(first, first + count)
    ]


def finished(account: Account, project: str, *names: str) -> None:
    """Makes runs that have ended."""
    for name in names:
        account.upsert(project, name, config={"lr": {"value": 1, "desc": None}})
        account.log(project, name, rows(0, 3), done=True)


class Mirror:
    """A warehouse that is compared with its server."""

    def __init__(self, account: Account, root: Path, held_content_of: HeldContent) -> None:
        self.account = account
        self.warehouse = wbsync.open(root)
        self._held = held_content_of

    def sync(self, source: str = "sandbox/p", **options: Any) -> Any:
        """Syncs."""
        sandbox = self.account.sandbox
        return self.warehouse.sync(
            source, base_url=sandbox.base_url, api_key=sandbox.api_key, **options
        )

    def check(self) -> None:
        """The warehouse is the server's equal."""
        wanted, found = self.account.content(), self._held(self.warehouse, "sandbox")
        for table, content in wanted.items():
            assert found[table] == content, table

    def commits(self) -> set[str]:
        """Returns the commits of histories."""
        log = self.warehouse.root / "lake" / "history" / "_delta_log"
        return {entry.name for entry in log.glob("*.json")}

    def tags(self) -> dict[str, str]:
        """Returns the tags of the runs."""
        return dict(self.warehouse.sql("SELECT run_id, tags FROM runs").fetchall())


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the runs that each sync reads in full though they seem unchanged."""
    monkeypatch.setattr(runs_module, "CHECKED_RUNS", 0)


@pytest.mark.usefixtures("unchecked")
def test_the_servers_clock_is_wrong(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent
) -> None:
    """A clock that is ahead or behind, and one that is set back, hide no edit."""
    with Sandbox(tmp_path / "data", options=["--clock-skew", "-7200"]) as sandbox:
        account = account_of(sandbox)
        account.ahead_s = -7200
        finished(account, "p", "a", "b")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        account.pass_time(600)
        account.edit("p", "a", tags=["while it is behind"])
        mirror.sync()
        mirror.check()
        account.pass_time(4 * 3600)
        account.edit("p", "a", tags=["while it is ahead"])
        mirror.sync()
        mirror.check()
        account.pass_time(-3600)
        account.edit("p", "b", tags=["after it was set back"])
        mirror.sync()
        mirror.check()


@pytest.mark.usefixtures("unchecked")
def test_what_changes_while_all_is_read_is_found_next_time(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent
) -> None:
    """The newest change seen is no bound: a run that was read before it may have changed since."""
    with Sandbox(tmp_path / "data", options=["--max-page-rows", "2"]) as sandbox:
        account = account_of(sandbox)
        finished(account, "p", *"abcdef")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        pages = 0

        def meddle(event: object) -> None:
            nonlocal pages
            if isinstance(event, PageFetched):
                pages += 1
                if pages == 2:
                    account.pass_time(60)
                    account.edit("p", "a", tags=["while it was read"])
                    account.pass_time(7200)
                    account.edit("p", "f", tags=["last"])

        mirror.sync(progress=meddle)
        assert mirror.tags()["f"] == '["last"]'
        assert mirror.tags()["a"] == "[]"
        mirror.sync()
        mirror.check()


@pytest.mark.usefixtures("unchecked")
def test_filters_show_new_data_minutes_late(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent
) -> None:
    """What a filter does not show yet is found later; a new run at once, as the count tells."""
    with Sandbox(tmp_path / "data", options=["--lag", "600"]) as sandbox:
        account = account_of(sandbox)
        finished(account, "p", "a", "b")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        account.pass_time(3600)
        mirror.sync()
        account.pass_time(3600)
        account.edit("p", "a", tags=["late"])
        account.pass_time(60)
        finished(account, "p", "new")
        mirror.sync()
        assert set(mirror.tags()) == {"a", "b", "new"}
        account.pass_time(700)
        account.edit("p", "b", tags=["newer"])
        account.pass_time(700)
        mirror.sync()
        mirror.check()


@pytest.mark.usefixtures("unchecked")
def test_filters_and_order_are_ignored(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent
) -> None:
    """A server that takes a filter and does not heed it is asked for all, and for runs by name."""
    options = ["--ignore", "filters,order", "--max-page-rows", "3"]
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        account = account_of(sandbox)
        finished(account, "p", *"abcdefgh")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        mirror.check()
        account.pass_time(3600)
        account.edit("p", "d", config={"lr": {"value": 3, "desc": None}})
        account.delete_run("p", "e")
        finished(account, "p", "i")
        report = mirror.sync()
        assert report.runs_changed == 2
        mirror.check()
        assert not mirror.sync().rows


def test_cursors_are_ignored(tmp_path: Path, account_of: Any, held_content_of: HeldContent) -> None:
    """A server that gives the same page for ever is reported, and nothing taken for deleted."""
    with Sandbox(tmp_path / "data") as sandbox:
        account = account_of(sandbox)
        finished(account, "p", *"abcde")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        account.close()
    options = ["--ignore", "cursors", "--max-page-rows", "2", "--without", "updatedAtFilter"]
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        mirror.account = account_of(sandbox)
        report = mirror.sync()
    assert report.outcome == "partial"
    assert "cursor does not move" in " ".join(s.reason for s in report.skipped)
    assert set(mirror.tags()) == set("abcde")


@pytest.mark.usefixtures("unchecked")
def test_what_a_server_gains_is_asked_for_by_a_full_sync(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent
) -> None:
    """A field that it lacked once, and that decides how changes are found, is tried anew."""
    port = 0
    for options, wanted in ((["--without", "updatedAt,updatedAtFilter"], 0), ([], 2)):
        with Sandbox(tmp_path / "data", options=options, port=port) as sandbox:
            account = account_of(sandbox)
            port = int(sandbox.base_url.rsplit(":", 1)[1])
            if options:
                finished(account, "p", "a", "b")
            mirror = Mirror(account, tmp_path / "w", held_content_of)
            for full in (not options, False):
                mirror.sync(full=full)
                found = mirror.warehouse.sql("SELECT count(updated_at) FROM runs").fetchall()
                assert found == [(wanted,)]
            mirror.warehouse.close()


@pytest.mark.parametrize("filters", [True, False])
def test_pages_shift_while_they_are_read(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent, *, filters: bool
) -> None:
    """Runs that go and come between two pages make no other run seem deleted or unchanged."""
    options = ["--offset-cursors", "--max-page-rows", "3"]
    options += [] if filters else ["--without", "updatedAtFilter"]
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        account = account_of(sandbox)
        names = [f"r{index:02}" for index in range(14)]
        finished(account, "p", *names)
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        pages = 0

        def meddle(event: object) -> None:
            """Deletes a run of the page just read, and makes another."""
            nonlocal pages
            if isinstance(event, PageFetched):
                pages += 1
                if pages in {2, 3}:
                    account.delete_run("p", names.pop(0))
                    names.append(f"new{pages}{len(names)}")
                    account.upsert("p", names[-1])

        mirror.sync(progress=meddle)
        assert set(names) - {n for n in names if n.startswith("new")} <= set(mirror.tags())
        mirror.sync()
        mirror.check()
        pages = 0
        for name in names:
            account.pass_time(2)
            account.edit("p", name, tags=["edited"])
        mirror.sync(progress=meddle)
        edited = [n for n in names if not n.startswith("new")]
        assert all(mirror.tags()[name] == '["edited"]' for name in edited)
        mirror.sync()
        mirror.check()


def test_parts_are_exported_between_syncs(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent
) -> None:
    """Whatever part of a history is exported, in whatever order, each row is held once."""
    with Sandbox(tmp_path / "data", options=["--seed", "3"]) as sandbox:
        account = account_of(sandbox)
        account.upsert("p", "steady")
        account.upsert("p", "mixed")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        for index, offered in enumerate(("none", "half", "all", "half", "none", "all")):
            account.admin("exports", offered=offered)
            account.pass_time(60)
            account.log("p", "steady", rows(index * 800, 800))
            # Two writers: one goes on, the other one repeats steps that the first has logged.
            new = rows(index * 4, 4)
            again = [row | {"_timestamp": row["_timestamp"] + 1e6, "other": 1.0} for row in new]
            account.log("p", "mixed", [*new, *again[:3]], done=index > 2)
            mirror.sync()
            mirror.check()
        account.pass_time(60)
        account.log("p", "steady", [], done=True)
        mirror.sync()
        mirror.check()
        assert not mirror.sync(full=True).drift


def test_what_no_time_tells_is_found_all_the_same(
    tmp_path: Path, account_of: Any, monkeypatch: pytest.MonkeyPatch, held_content_of: HeldContent
) -> None:
    """An edit that moves no time is found in turn, or by --full, and reported as missed."""
    with Sandbox(tmp_path / "data", options=["--unstamped", "config"]) as sandbox:
        account = account_of(sandbox)
        names = [f"r{index}" for index in range(6)]
        finished(account, "p", *names)
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        account.pass_time(3600)
        account.edit("p", "r4", config={"lr": {"value": 5, "desc": None}})
        monkeypatch.setattr(runs_module, "CHECKED_RUNS", 2)
        monkeypatch.setattr(runs_module, "CHECK_AFTER", timedelta(0))
        drift = [d for _ in range(3) for d in mirror.sync().drift]
        assert {(d.table, d.key, d.field) for d in drift} == {
            ("runs", "sandbox/p/r4", "config"), ("runs", "sandbox/p/r4", "config_raw"),
        }  # fmt: skip
        mirror.check()

        monkeypatch.setattr(runs_module, "CHECKED_RUNS", 0)
        account.edit("p", "r1", config={"lr": {"value": 7, "desc": None}})
        assert not mirror.sync().rows
        done = subprocess.run(
            [
                sys.executable, "-m", "wbsync", "-w", str(tmp_path / "w"), "sync", "sandbox/p",
                "--full",
            ],
            env=sandbox.env(), check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert "had missed runs sandbox/p/r1: config\n" in done.stdout
        mirror.check()
        assert not mirror.sync(full=True).drift


def test_a_move_that_breaks_off_is_taken_up_again(
    tmp_path: Path, account_of: Any, monkeypatch: pytest.MonkeyPatch, held_content_of: HeldContent
) -> None:
    """A project whose rows were moved in part when the disk failed is whole after the next sync."""
    with Sandbox(tmp_path / "data") as sandbox:
        account = account_of(sandbox)
        finished(account, "p", "a", "b")
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        amend = Lake.amend
        for turn, breaks_at in enumerate((2, 6, 11)):
            # Each time to a name that another project had, with runs of the same names.
            finished(account, "q", "a")
            mirror.sync("sandbox/q")
            account.delete_project("q")
            mirror.sync("sandbox/q")
            account.pass_time(3600)
            account.rename_project("p", "q")
            calls = itertools.count()

            def breaks(*args: Any, calls: Any = calls, last: int = breaks_at) -> Any:
                if next(calls) == last:
                    raise wbsync.errors.WarehouseError("the disk is full")
                return amend(*args)

            with monkeypatch.context() as patch:
                patch.setattr(Lake, "amend", breaks)
                with pytest.raises(wbsync.errors.WarehouseError):
                    mirror.sync("sandbox/q")
            before = len(sandbox.requests())
            mirror.sync("sandbox/q")
            asked = {f for r in sandbox.requests()[before:] for f in r.get("fields") or ()}
            assert not asked & HISTORY_FIELDS
            mirror.check()
            account.rename_project("q", "p")
            mirror.sync()
            mirror.check()
            assert not mirror.sync().rows, turn


HISTORY_FIELDS = {"history", "sampledHistory", "events", "parquetHistory"}


def test_what_a_sync_of_ten_thousand_runs_costs(
    tmp_path: Path, account_of: Any, monkeypatch: pytest.MonkeyPatch, held_content_of: HeldContent
) -> None:
    """Nothing changed: 3 requests, or 13 where W&B cannot filter; ten edits: two more at most."""
    data = tmp_path / "data"
    for runs, steps in (("9950", "0"), ("50", "5")):
        subprocess.run(
            [
                sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data),
                "--project", "p", "--runs", runs, "--steps", steps, "--keys", "1",
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    with closing(sqlite3.connect(data / "sandbox.sqlite")) as db, db:
        db.execute("UPDATE runs SET state = 'finished', updatedAt = createdAt")
    for options, budget in (([], 3), (["--without", "updatedAtFilter"], 13)):
        with Sandbox(data, options=options) as sandbox:
            account = account_of(sandbox)
            mirror = Mirror(account, tmp_path / "w", held_content_of)
            if not options:
                with monkeypatch.context() as patch:
                    patch.setattr(runs_module, "HEAVY_PAGE_ROWS", 1000)
                    assert mirror.sync().runs_changed == 10_000
            mirror.sync()  # learns what the server can do

            before = len(sandbox.requests())
            report = mirror.sync()
            assert report.runs == 10_000
            assert not report.rows
            assert report.requests <= budget

            names = [
                n for (n,) in mirror.warehouse.sql("SELECT run_id FROM runs LIMIT 10").fetchall()
            ]
            for name in names:
                account.edit("p", name, tags=[f"edited {budget}"])
            report = mirror.sync()
            assert report.runs_changed == 10
            assert report.requests <= budget + 2
            asked = sandbox.requests()[before:]
            assert not {f for r in asked for f in r.get("fields") or ()} & HISTORY_FIELDS


HIDDEN = {
    "history": ["--hide", "history,parquetHistory"],
    "counts": ["--hide", "historyLineCount"],
    "both": ["--hide", "history,parquetHistory,historyLineCount,historyKeys"],
}


@pytest.mark.parametrize("hidden", HIDDEN)
def test_no_answer_is_no_history(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent, hidden: str
) -> None:
    """Rows that are held stay where a server claims some and gives none; well again, all come."""
    data, late = tmp_path / "data", ["--clock-skew", "86400"]
    with Sandbox(data) as sandbox:
        finished(account_of(sandbox), "p", "held", "rewound")
        Mirror(account_of(sandbox), tmp_path / "w", held_content_of).sync()
        account = account_of(sandbox)
        account.upsert("p", "held")
        account.log("p", "held", rows(3, 2), done=True)
        account.rewind("p", "rewound", 1)
        finished(account, "p", "new")
    # Long after they ended: no row is still on its way.
    with Sandbox(data, options=[*HIDDEN[hidden], *late]) as sandbox:
        mirror = Mirror(account_of(sandbox), tmp_path / "w", held_content_of)
        report = mirror.sync()
        held = dict(
            mirror.warehouse.sql("SELECT run_id, count(*) FROM history GROUP BY 1").fetchall()
        )
        mirror.warehouse.close()
        assert held["held"] >= 6
        assert held["rewound"] >= 4
        assert (report.outcome == "partial") == (hidden == "history")
    with Sandbox(data, options=late) as sandbox:
        account = account_of(sandbox)
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        assert mirror.sync().outcome == "complete"
        mirror.check()
        assert not mirror.sync().rows
        mirror.warehouse.close()


def test_what_replaces_a_long_run_waits_in_files(
    tmp_path: Path, account_of: Any, held_content_of: HeldContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewound run of more than a segment is replaced in one commit, and leaves no file behind."""
    monkeypatch.setattr(segments_module, "SEGMENT_CELLS", 5)
    with Sandbox(tmp_path / "data") as sandbox:
        account = account_of(sandbox)
        account.upsert("p", "long")
        for first in range(0, 40, 10):
            account.log("p", "long", rows(first, 10), done=first == 30)
        mirror = Mirror(account, tmp_path / "w", held_content_of)
        mirror.sync()
        account.rewind("p", "long", 4)
        for first in range(5, 30, 5):
            account.log("p", "long", rows(first, 5, "other"), done=first == 25)
        before, spilled = mirror.commits(), []
        keep = segments_module.Staged._spill

        def spill(staged: segments_module.Staged) -> None:
            keep(staged)
            spilled.append(list(staged._context.scratch.glob("*.arrow")))

        monkeypatch.setattr(segments_module.Staged, "_spill", spill)
        assert mirror.sync().outcome == "complete"
        mirror.check()
        assert len(mirror.commits() - before) == 1
        assert spilled
        assert not any(spilled)
        mirror.warehouse.close()
