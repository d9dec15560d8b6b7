"""Compaction keeps every row and lays them well; a vacuum deletes what nothing needs, only."""

from __future__ import annotations

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from wbsync.catalog import publish
from wbsync.catalog.check import check_published
from wbsync.catalog.patch import find_change
from wbsync.catalog.record import read_record
from wbsync.catalog.swap import Builds
from wbsync.extract.rows import build_table
from wbsync.lake import Lake
from wbsync.lake.compact import compact, small_files
from wbsync.lake.log import version_at, whole_since
from wbsync.lake.merge import MAX_FILES
from wbsync.lake.vacuum import delete_files, find_garbage

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = ["Loss", "loss", "a.b", "größe", "x y/[z]", "'; DROP TABLE runs; --", "\x1b[31m"]


def history(runs: list[str], steps: range, *, project: str = "p", row: int = 0) -> pa.Table:
    """Returns a segment: key by key, then run by run, then step by step."""
    return build_table(
        "history",
        [
            {
                "entity": "e", "project": project, "run_id": run, "key": key, "step": step,
                "row": row, "synced_at": NOW,
                "value": None if step % 7 == 0 else float("nan") if step % 5 == 0 else step / 3,
                "json": '{"_type":"image"}' if step % 7 == 0 else None,
            }
            for key in sorted(KEYS) for run in sorted(runs) for step in steps
        ],
    )  # fmt: skip


def content(lake: Lake, table: str) -> list[str]:
    """Returns the rows of a table, comparable between layouts."""
    return sorted(map(repr, lake.read(table).to_pylist()))


def laid(lake: Lake, table: str, *columns: str) -> list[list[tuple[Any, ...]]]:
    """Returns some columns of each file, as they lie."""
    import pyarrow.parquet as pq

    return [
        list(zip(*(pq.read_table(f).column(c).to_pylist() for c in columns), strict=True))
        for f in lake.files(table)
    ]


def test_history_stays_key_by_key(tmp_path: Path) -> None:
    """Overlapping, stepless and doubly numbered rows of many files are all kept, and in order."""
    lake = Lake(tmp_path)
    for index in range(MAX_FILES + 8):
        runs = [f"r{(index + n) % 5}" for n in range(3)]
        lake.append("history", history(runs, range(index * 5, index * 5 + 8)), {"n": str(index)})
    lake.append("history", history(["r1"], range(20, 30), row=1, project="ä/'"), {})
    stepless = history(["r1"], range(1, 2)).to_pylist()
    lake.append("history", build_table("history", [{**row, "step": None} for row in stepless]), {})
    before = content(lake, "history")
    said: list[tuple[int, int]] = []
    done = compact(lake, "history", tmp_path / "spill", lambda *n: said.append(n))
    assert done is not None
    assert (done.files_before, done.files_after) == (MAX_FILES + 10, len(lake.files("history")))
    assert done.files_after == 1
    assert content(lake, "history") == before
    assert said[-1][0] == said[-1][1] == len(before)
    for rows in laid(lake, "history", "key", "entity", "project", "run_id", "step", "row"):
        places = [(*row[:4], -1 if row[4] is None else row[4], row[5]) for row in rows]
        assert places == sorted(places)
    assert compact(lake, "history", tmp_path / "spill") is None
    polars = pl.read_delta(str(tmp_path / "lake" / "history"))
    assert len(polars) == len(before)
    metadata = [c.get("n") for _, c in lake.commits("history", None)]
    assert metadata[: MAX_FILES + 8] == [str(n) for n in range(MAX_FILES + 8)]


def test_a_file_that_is_in_no_order_is_sorted(tmp_path: Path) -> None:
    """What another tool wrote in any order comes out in order, too."""
    lake = Lake(tmp_path)
    rows = history(["r0", "r1"], range(40)).to_pylist()
    random.Random(1).shuffle(rows)
    lake.append("history", build_table("history", rows), {})
    lake.append("history", history(["r2"], range(10)), {})
    before = content(lake, "history")
    assert compact(lake, "history", tmp_path / "spill") is not None
    assert content(lake, "history") == before
    (places,) = laid(lake, "history", "key", "run_id", "step")
    assert places == sorted(places)


def test_rows_that_change_lie_in_order_of_creation(tmp_path: Path) -> None:
    """Runs and their leaves lie from old to new, whatever the order in which they were written."""
    lake = Lake(tmp_path)
    order = list(range(60))
    random.Random(2).shuffle(order)
    for chunk in range(0, 60, 6):
        chosen = order[chunk : chunk + 6]
        runs = [
            {
                "entity": "e", "project": "p", "run_id": f"r{n * 37 % 60:02}", "synced_at": NOW,
                "created_at": None if n == 0 else NOW + timedelta(days=n), "config": "x" * n,
            }
            for n in chosen
        ]  # fmt: skip
        leaves = [
            {"entity": "e", "project": "p", "run_id": run["run_id"], "key": key, "synced_at": NOW}
            for run in runs for key in KEYS
        ]  # fmt: skip
        lake.append("runs", build_table("runs", runs), {})
        lake.append("run_config", build_table("run_config", leaves), {})
    for table in ("runs", "run_config"):
        before = content(lake, table)
        assert len(small_files(lake, table)) == 10
        assert compact(lake, table, tmp_path / "spill") is not None
        assert content(lake, table) == before
    (ages,) = laid(lake, "runs", "created_at")
    assert [a for (a,) in ages] == [None, *sorted(a for (a,) in ages if a)]
    (runs_of_leaves,) = laid(lake, "run_config", "run_id")
    (runs,) = laid(lake, "runs", "run_id")
    assert list(dict.fromkeys(runs_of_leaves)) == runs


def test_a_vacuum_keeps_what_is_needed(tmp_path: Path) -> None:
    """Young states, published files and what is held stay; old removed files and orphans go."""
    lake = Lake(tmp_path)
    for start in range(0, 40, 10):
        lake.append("history", history(["r0"], range(start, start + 10)), {})
    old = lake.files("history")
    before = content(lake, "history")
    assert compact(lake, "history", tmp_path / "spill") is not None
    folder = lake.path("history")
    orphan, young = folder / "part-orphan.parquet", folder / "part-young.parquet"
    for path in (orphan, young):
        path.write_bytes(b"x")
    long_ago = time.time() - 30 * 86400
    for path in (orphan, *old):
        os.utime(path, (long_ago, long_ago))
    now = datetime.now(UTC)
    week = find_garbage(lake, "history", now - timedelta(days=7), ())
    assert set(week.files) == {orphan}, "the state before the compaction is younger than a week"
    garbage = find_garbage(lake, "history", now, {old[0].name})
    assert set(garbage.files) == {orphan, *old[1:], young}
    delete_files([*garbage.files, *garbage.files])
    assert content(lake, "history") == before
    assert old[0].exists()


def stamp(folder: Path, *stamps: datetime) -> None:
    """Makes the commits of a table say that they were made at these times."""
    for version, at in enumerate(stamps):
        path = folder / "_delta_log" / f"{version:020}.json"
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for action in actions:
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] = int(at.timestamp() * 1000)
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def ago(days: float) -> datetime:
    """Returns the instant so many days ago, to the millisecond."""
    now = datetime.now(UTC).replace(microsecond=0)
    return now - timedelta(days=days)


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [(20_000, 1.5), (30, 1.5), (-400, 1.5), (1, 1.0)],
    ids=["far back", "back", "ahead", "right"],
)
def test_a_clock_that_was_wrong_once_misleads_neither_vacuum_nor_the_past(
    tmp_path: Path, wrong: float, seen: float
) -> None:
    """A commit with a wrong time costs no file within the keep, and hides no other version."""
    lake = Lake(tmp_path)
    folder = lake.path("runs")
    made = []
    for number in range(5):
        row = {"entity": "e", "project": "p", "run_id": "r", "synced_at": NOW, "notes": str(number)}
        rows = build_table("runs", [row])
        lake.replace("runs", rows.select(["entity", "project", "run_id"]), rows, {})
        made += lake.files("runs")
    assert len(set(made)) == 5
    stamp(folder, ago(20), ago(10), ago(1.5), ago(wrong), ago(0.5))
    for path in made:
        os.utime(path, (ago(30).timestamp(),) * 2)
    assert version_at(folder, ago(21)) is None
    assert version_at(folder, ago(19)) == 0
    assert version_at(folder, ago(9)) == 1
    assert version_at(folder, ago(seen + 0.01)) == (1 if seen == 1.5 else 2)
    assert version_at(folder, ago(seen - 0.01)) == 3
    assert version_at(folder, ago(0.4)) == version_at(folder, ago(0)) == 4
    garbage = find_garbage(lake, "runs", ago(7), ())
    assert set(garbage.files) == {made[0]}, "all others were current within the last 7 days"
    delete_files(garbage.files)
    since = whole_since(folder)
    assert since is not None
    assert version_at(folder, since) == 1
    assert all(path.exists() for path in lake.files("runs", 1))
    # Were the wrong one the newest, it would show now all the same, and its past would be kept.
    (folder / "_delta_log" / f"{4:020}.json").unlink()
    assert version_at(folder, datetime.now(UTC)) == 3
    assert made[2] not in find_garbage(Lake(tmp_path), "runs", ago(1.7), ()).files


def test_nothing_is_lost_when_rows_do_not_add_up(tmp_path: Path) -> None:
    """A rewrite that would lose a row is refused, and the table stays as it was."""
    from wbsync.errors import WarehouseError

    lake = Lake(tmp_path)
    rows = history(["r0"], range(10))
    lake.append("history", rows, {})
    version = lake.version("history")
    with pytest.raises(WarehouseError, match="rows became"):
        lake.rewrite("history", lake.files("history"), [rows.slice(1)], 1 << 20)
    assert lake.version("history") == version


def test_the_published_file_takes_no_row_anew(tmp_path: Path) -> None:
    """Rows that only moved to another file are no change; rows that came meanwhile are."""
    (tmp_path / "w").mkdir()
    lake = Lake(tmp_path / "w")
    for table in ("runs", "history"):
        for number in range(4):
            row = {"entity": "e", "project": "p", "run_id": f"r{number}", "synced_at": NOW}
            row |= {"key": "k", "step": 0, "row": 0} if table == "history" else {}
            lake.append(table, build_table(table, [row]), {})
    publish(tmp_path / "w", lake)
    assert compact(lake, "runs", tmp_path / "spill") is not None
    assert compact(lake, "history", tmp_path / "spill") is not None
    newest = Builds(tmp_path / "w").newest()
    record = None if newest is None else read_record(newest)
    assert record is not None
    for table in ("runs", "history"):
        change = find_change(lake, table, record)
        assert (len(change.files), change.added, change.removed) == (1, (), ())
    assert publish(tmp_path / "w", lake).how == "patched"
    assert check_published(tmp_path / "w", lake, deep=True) == []
    row = {"entity": "e", "project": "p", "run_id": "new", "synced_at": NOW}
    lake.append("runs", build_table("runs", [row]), {})
    assert compact(lake, "runs", tmp_path / "spill") is not None
    assert publish(tmp_path / "w", lake).how == "patched"
    assert check_published(tmp_path / "w", lake, deep=True) == []
    lake.drop("runs", lake.files("runs"), {})
    assert {f.table for f in check_published(tmp_path / "w", lake)} == {"runs"}
