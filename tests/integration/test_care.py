"""Looking after the lake: compaction that is killed, vacuum, the past, and what changed since."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.errors import ConfigError, StatementRefusedError, WarehouseError
from wbsync.lake import Lake
from wbsync.sandbox.process import Sandbox
from wbsync.sync.care import MANY_SMALL_FILES
from wbsync.sync.holding import held
from wbsync.sync.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def quiet(event: object) -> None:
    """Takes an event and says nothing."""


def command(root: Path, *args: str) -> list[str]:
    """Returns the command line of a call."""
    return [sys.executable, "-m", "wbsync", "-w", str(root), *args]


def call(root: Path, *args: str) -> Any:
    """Calls the command; returns the JSON that it prints."""
    done = subprocess.run(
        command(root, *args), check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def scatter(root: Path, tables: list[str], count: int) -> None:
    """Lays the rows of tables out in many small files, as many small syncs would."""
    lake = Lake(root)
    for table in tables:
        files, rows = lake.files(table), lake.read(table)
        size = max(1, -(-rows.num_rows // count))
        for start in range(0, rows.num_rows, size):
            lake.append(table, rows.slice(start, size), {})
        lake.drop(table, files, {})


@pytest.fixture(scope="module")
def server(logged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server with what the SDK logged."""
    data = tmp_path_factory.mktemp("care") / "sandbox"
    shutil.copytree(logged, data)
    with Sandbox(data) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", sandbox.base_url)
        patch.setenv("WANDB_API_KEY", sandbox.api_key)
        yield sandbox


def test_a_compaction_that_is_killed_leaves_nothing_wrong(
    server: Sandbox, tmp_path: Path, content_of: Any
) -> None:
    """SIGKILL at any moment, then again: the same content, nothing found wrong, few files."""
    root = tmp_path / "w"
    wbsync.open(root).sync("sandbox/main")
    wanted = content_of(root)
    scatter(root, ["history", "history_keys", "run_config", "runs"], MANY_SMALL_FILES + 8)
    rng = random.Random(11)
    seen = 0
    for _ in range(3):
        before = len(list((root / "lake").rglob("*.parquet")))
        process = subprocess.Popen(
            command(root, "compact"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < 60:
            if len(list((root / "lake").rglob("*.parquet"))) > before:
                time.sleep(rng.uniform(0, 0.15))
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        seen += process.wait() == -signal.SIGKILL
        with held(root, quiet) as holding:
            wrong = [f for f in verify(holding, (), quiet).problems if f.kind != "stale catalog"]
        assert wrong == []
    assert seen > 0
    report = call(root, "compact", "--json")["tables"]
    assert all(table["files_after"] < table["files_before"] for table in report)
    assert len(Lake(root).files("history")) == 1
    assert content_of(root) == wanted
    assert call(root, "compact", "--json") == {"tables": []}
    with held(root, quiet) as holding:
        assert verify(holding, (), quiet, deep=True).problems == []
    asked = len(server.requests())
    again = wbsync.open(root).sync("sandbox/main")
    assert again.rows == {}
    assert not {"history", "parquetHistory"} & {
        field for r in server.requests()[asked:] for field in r.get("fields") or ()
    }, "compaction confused no cursor"
    looked = call(root, "vacuum", "--keep", "0s", "--dry-run", "--json")
    assert looked["files"] > 0
    assert looked["bytes_before"] - looked["bytes_after"] == looked["bytes"]
    gone = call(root, "vacuum", "--keep", "0s", "--json")
    assert (gone["files"], gone["bytes"]) == (looked["files"], looked["bytes"])
    assert content_of(root) == wanted
    assert call(root, "verify", "--deep", "--json")["ok"] is True


def test_a_sync_compacts_and_vacuums_in_passing(
    server: Sandbox, tmp_path: Path, content_of: Any, run_script: Any
) -> None:
    """Many small files are put together by a sync that writes; a day on, old files go, too."""
    root = tmp_path / "w"
    warehouse = wbsync.open(root)
    warehouse.sync("sandbox/main")
    scatter(root, ["history"], MANY_SMALL_FILES)
    run_script("edit_run.py", server, tmp_path, "sandbox/main/long", "in passing")
    warehouse.sync("sandbox/main")
    assert len(Lake(root).files("history")) == 1
    wanted = content_of(root)
    removed = set((root / "lake" / "history").glob("*.parquet")) - set(Lake(root).files("history"))
    assert len(removed) >= MANY_SMALL_FILES
    orphan = root / "lake" / "runs" / "part-orphan.parquet"
    orphan.write_bytes(b"half")
    month_ago = time.time() - 30 * 86400
    os.utime(orphan, (month_ago, month_ago))
    with held(root, quiet) as holding:
        long_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
        holding.state.set_mark("last_vacuum_at", "", "", long_ago)
    commits = sorted(root.rglob("_delta_log/*.json"))
    warehouse.sync("sandbox/main")
    assert not orphan.exists()
    assert all(path.exists() for path in removed), "younger than the keep of 7 days"
    assert sorted(root.rglob("_delta_log/*.json")) == commits
    assert content_of(root) == wanted
    warehouse.close()


def test_the_past_can_be_asked(server: Sandbox, tmp_path: Path, run_script: Any) -> None:
    """Each table is as it was at an instant; what a vacuum took is said with the earliest time."""
    root = tmp_path / "w"
    with wbsync.open(root) as warehouse:
        before_all = datetime.now(UTC)
        time.sleep(0.05)
        warehouse.sync("sandbox/main")
        first = datetime.now(UTC)
        time.sleep(0.05)
        run_script("edit_run.py", server, tmp_path, "sandbox/main/odd", "later tag")
        warehouse.sync("sandbox/main")
        scatter(root, ["history", "runs"], 5)
        call(root, "compact", "--json")
        query = (
            "SELECT (SELECT count(*) FROM run_tags WHERE tag = 'later tag'), (SELECT count(*)"
            " FROM history), (SELECT count(DISTINCT sync_id) FROM sync_log),"
            " (SELECT count(*) FROM runs)"
        )
        (now,) = warehouse.sql(query).fetchall()
        assert now[0] == 1
        then = (0, now[1], 1, now[3])
        east = first.astimezone(datetime.fromisoformat("2026-01-01T00:00+05:30").tzinfo)
        for as_of in (first, first.isoformat(), east.isoformat(), first.replace(tzinfo=None)):
            assert warehouse.sql(query, as_of=as_of).fetchall() == [then]
        assert warehouse.sql(query, as_of="0s").fetchall() == [now]
        assert warehouse.sql("SELECT ?", [7], as_of=first).fetchall() == [(7,)]
        wide = "SELECT count(*) FROM sandbox__main.runs"
        assert warehouse.sql(wide, as_of=first).fetchall() == [(now[3],)]
        typed = "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'sandbox__main'"
        assert sorted(warehouse.sql(typed, as_of="0s").fetchall()) == sorted(
            warehouse.sql(typed).fetchall()
        )
        # The queue of edits is of now.
        known = {t.name for t in warehouse.tables() if "." not in t.name} - {"edits", "edit_log"}
        shown = warehouse.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal"
                              " UNION SELECT 'sync_log'", as_of=first)  # fmt: skip
        assert {name for (name,) in shown.fetchall()} == known
        for statement in ("COPY runs TO 'x.csv'", "FROM read_csv('/etc/passwd')"):
            with pytest.raises(StatementRefusedError):
                warehouse.sql(statement, as_of=first)
        for early in (before_all, "2001-02-03", "100w"):
            with pytest.raises(ConfigError, match=r"nothing was held yet .* first sync was at 20"):
                warehouse.sql(query, as_of=early)
        call(root, "vacuum", "--keep", "0s", "--json")
        with pytest.raises(WarehouseError, match="earliest time that can be had is") as told:
            warehouse.sql(query, as_of=first)
        earliest = str(told.value).rsplit(" ", 1)[-1]
        assert warehouse.sql(query, as_of=earliest).fetchall() == [now]
    done = subprocess.run(
        command(root, "sql", "--as-of", "yesterday", "SELECT 1"),
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "is no time" in done.stderr) == (2, True)


def test_changes_are_logged_once_though_a_sync_is_killed(
    server: Sandbox, tmp_path: Path, run_script: Any
) -> None:
    """Edits are logged field by field, and exactly once where the commit of runs was lost."""
    root = tmp_path / "w"
    warehouse = wbsync.open(root)
    warehouse.sync("sandbox/main")
    start = datetime.now(UTC)

    def undo_commits(*tables: str) -> None:
        """Leaves what a kill right before the commit of these tables would have left."""
        for table in tables:
            max((root / "lake" / table / "_delta_log").glob("*.json")).unlink()

    def tags_logged() -> list[Any]:
        return warehouse.changes(since=start, runs=["long"]).arrow().to_pylist()

    run_script("edit_run.py", server, tmp_path, "sandbox/main/long", "t1")
    warehouse.sync("sandbox/main")
    (first,) = tags_logged()
    assert (first["field"], first["run_id"]) == ("tags", "long")
    assert json.loads(first["new"])[-1:] == ["t1"]
    assert json.loads(first["new"])[:-1] == json.loads(first["old"])
    undo_commits("runs", "projects")
    warehouse.sync("sandbox/main")
    assert tags_logged() == [first], "seen already by the sync that was killed"
    undo_commits("runs", "projects")
    run_script("edit_run.py", server, tmp_path, "sandbox/main/long", "t2")
    warehouse.sync("sandbox/main")
    assert tags_logged()[0] == first
    (second,) = tags_logged()[1:]
    assert (second["old"], json.loads(second["new"])[-2:]) == (first["new"], ["t1", "t2"])
    with held(root, quiet) as holding:
        # What a table of another project holds is no matter here.
        assert holding.lake.read("run_changes").num_rows == 2
    told = ("changes", "sandbox/main", "--since", start.isoformat(), "--run", "long", "--json")
    assert [c["new"] for c in call(root, *told, "--field", "tags")] == [first["new"], second["new"]]
    assert call(root, *told, "--field", "config") == []
    rows = warehouse.sql("SELECT DISTINCT field FROM run_changes").fetchall()
    assert rows == [("tags",)]
    run_script("delete_run.py", server, tmp_path, "sandbox/main/late")
    warehouse.sync("sandbox/main")
    undo_commits("runs", "projects")
    warehouse.sync("sandbox/main")
    warehouse.sync("sandbox/main")
    gone = warehouse.changes("sandbox/main", fields=["deleted_at"]).fetchall()
    assert [(row[2], row[4], row[5]) for row in gone] == [("late", "deleted_at", None)]
    for path in Lake(root).files("run_changes"):
        path.unlink()
    asked = len(server.requests())
    done = call(root, "verify", "--repair", "--json")
    assert (done["ok"], done["projects_synced"]) == (True, [])
    assert done["lost"] == ["entries of the change log, which W&B does not keep"]
    assert len(server.requests()) == asked, "nothing of it is to be had from W&B"
    assert warehouse.changes().fetchall() == []
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert warehouse.changes(since=later).fetchall() == []
    with pytest.raises(ConfigError, match="ENTITY/PROJECT"):
        warehouse.changes("sandbox")
    warehouse.close()
