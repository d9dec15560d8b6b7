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
    for _ in range(4):
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
        with held(root) as holding:
            wrong = [f for f in verify(holding, (), quiet).problems if f.kind != "stale catalog"]
        assert wrong == []
    assert seen > 0
    report = call(root, "compact", "--json")["tables"]
    assert all(table["files_after"] < table["files_before"] for table in report)
    assert len(Lake(root).files("history")) == 1
    assert content_of(root) == wanted
    assert call(root, "compact", "--json") == {"tables": []}
    with held(root) as holding:
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
    with held(root) as holding:
        long_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
        holding.state.set_mark("last_vacuum_at", "", "", long_ago)
    commits = sorted(root.rglob("_delta_log/*.json"))
    warehouse.sync("sandbox/main")
    assert not orphan.exists()
    assert all(path.exists() for path in removed), "younger than the keep of 7 days"
    assert sorted(root.rglob("_delta_log/*.json")) == commits
    assert content_of(root) == wanted
    warehouse.close()
