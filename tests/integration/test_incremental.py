"""What the second and third sync ask, and what they write."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

HISTORY_FIELDS = {"history", "sampledHistory", "events", "parquetHistory"}

SERVERS = {
    "updatedAt": [],
    "no updatedAt filter": ["--without", "updatedAtFilter"],
    "no updatedAt": ["--without", "updatedAt"],
    "no exports": ["--without", "parquetHistory"],
    "small pages": ["--max-page-rows", "2"],
}


def fields_of(requests: list[dict[str, Any]]) -> set[str]:
    """Returns the schema fields that the requests named."""
    return {field for request in requests for field in request.get("fields") or ()}


@pytest.mark.parametrize("server", SERVERS)
def test_what_has_not_changed_is_not_asked_again(
    logged: Path, tmp_path: Path, wbsync_env: Any, run_script: Any, server: str
) -> None:
    """A second sync commits nothing; a third finds a tag edit, without any history."""
    data = tmp_path / "data"
    shutil.copytree(logged, data)
    with Sandbox(data, options=SERVERS[server]) as sandbox:
        wbsync_env(sandbox)
        warehouse = wbsync.open(tmp_path / "w")
        first = warehouse.sync("sandbox/main")
        assert first.outcome == "complete"
        assert first.requests <= 0.05 * first.runs + 50
        commits = commit_files(tmp_path / "w")
        inode = (tmp_path / "w" / "warehouse.duckdb").stat().st_ino

        asked = len(sandbox.requests())
        second = warehouse.sync("sandbox/main")
        new = sandbox.requests()[asked:]
        assert second.outcome == "complete"
        assert len(new) == second.requests
        assert len(new) <= (3 if server != "small pages" else 6)
        assert not fields_of(new) & HISTORY_FIELDS
        assert commit_files(tmp_path / "w") == commits
        assert (tmp_path / "w" / "warehouse.duckdb").stat().st_ino == inode

        run_script("edit_run.py", sandbox, tmp_path, "sandbox/main/odd", "edited")
        asked = len(sandbox.requests())
        third = warehouse.sync("sandbox/main")
        new = sandbox.requests()[asked:]
        assert third.runs_changed == 1
        assert not fields_of(new) & HISTORY_FIELDS
        tags = warehouse.sql("SELECT tag FROM run_tags WHERE run_id = 'odd' ORDER BY tag")
        assert ("edited",) in tags.fetchall()
        warehouse.close()


def commit_files(root: Path) -> set[Path]:
    """Returns the Delta log entries of every table."""
    return set(root.rglob("_delta_log/*.json"))
