"""`wbsync publish`: what a moved folder needs, and other forms of the published file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filelock import FileLock

import wbsync
from wbsync.lake import Lake, open_warehouse
from wbsync.tables import load_table

OLDEST = Path(sys.prefix) / "readers" / "1.1.3" / "bin" / "python"
SUM = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(connection.execute("SELECT sum(value) FROM history").fetchone()[0])
"""


def rows(table: str, *items: dict[str, Any]) -> pa.Table:
    """Returns rows of a table."""
    base = {"synced_at": datetime(2026, 1, 1, tzinfo=UTC), "entity": "e", "project": "p"}
    schema = load_table(table).arrow()
    return pa.Table.from_pylist([base | item for item in items], schema=schema)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A warehouse with a run and its history, published."""
    folder = tmp_path / "first place"
    open_warehouse(folder)
    lake = Lake(folder)
    lake.append("projects", rows("projects", {}), {})
    lake.append("runs", rows("runs", {"run_id": "a"}), {})
    points = [{"run_id": "a", "key": "loss", "step": n, "row": 0, "value": n} for n in range(4)]
    lake.append("history", rows("history", *points), {})
    wbsync.open(folder).publish()
    return folder


def call(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Calls the command, far from any server."""
    env = {**os.environ, "WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(root), *args],
        check=False, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def doctor_says(root: Path) -> tuple[bool, str]:
    """Returns what the doctor finds about the published file."""
    checks = json.loads(call(root, "doctor", "--json").stdout)["checks"]
    return next((c["ok"], c["detail"]) for c in checks if c["check"] == "warehouse")


def bi_tool_sums(root: Path) -> float:
    """Returns what the oldest DuckDB finds in the published file."""
    done = subprocess.run(
        [str(OLDEST), "-I", "-c", SUM, str(root / "warehouse.duckdb")],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize("way", ["moved", "copied"])
def test_a_folder_elsewhere_needs_one_command_which_is_named(
    root: Path, tmp_path: Path, way: str
) -> None:
    """After a move or a copy all works once `wbsync publish` has run, and wbsync says so."""
    assert doctor_says(root) == (
        True,
        f"{root / 'warehouse.duckdb'}: opens in DuckDB 1.1 and later",
    )
    place = tmp_path / "other place's"
    if way == "moved":
        root.rename(place)
    else:
        shutil.copytree(root, place)
    query = ("sql", "SELECT sum(value) FROM history", "--format", "csv")
    assert (
        call(place, "sql", "SELECT count(*) FROM runs", "--format", "csv").stdout.split()[-1] == "1"
    )
    done = call(place, *query)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "`wbsync publish`" in line
    is_well, words = doctor_says(place)
    assert not is_well
    assert "`wbsync publish`" in words
    done = call(place, "publish")
    assert done.returncode == 0, done.stderr
    assert "patched" in done.stdout
    shutil.rmtree(root, ignore_errors=True)
    assert call(place, *query).stdout.split()[-1] == "6.0"
    assert bi_tool_sums(place) == 6.0
    assert doctor_says(place)[0]
    assert json.loads(call(place, "publish", "--json").stdout)["how"] == "unchanged"


def test_another_form_is_said_and_kept(root: Path, tmp_path: Path) -> None:
    """One portable file on request; what cannot be is refused in one line with the right code."""
    done = call(root, "publish", "--materialize", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["how"] == "rebuilt"
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(root / "warehouse.duckdb", alone)
    with wbsync.open(root) as held:
        assert held.publish().how == "unchanged"
        assert held.sql("SELECT sum(value) FROM history").fetchall() == [(6.0,)]
    (root / "lake").rename(tmp_path / "hidden")
    assert bi_tool_sums(alone) == 6.0
    (tmp_path / "hidden").rename(root / "lake")
    assert call(root, "publish", "--storage-version", "v1.4.0").returncode == 0
    assert doctor_says(root) == (
        True, f"{root / 'warehouse.duckdb'}: needs a DuckDB that reads storage version v1.4.0"
    )  # fmt: skip
    for args, code, words in (
        (("--storage-version", "nine"), 2, "storage version"),
        (("-h",), 0, ""),
    ):
        done = call(root, "publish", *args)
        assert (done.returncode, words in done.stderr) == (code, True)
    none = call(tmp_path / "none", "publish")
    assert none.returncode == 1
    assert "not a warehouse" in none.stderr
    with FileLock(root / ".lock"):
        done = call(root, "publish")
    assert done.returncode == 1
    assert "holds this warehouse" in done.stderr
