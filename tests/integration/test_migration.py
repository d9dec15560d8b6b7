"""A warehouse that an older wbsync wrote opens, is brought up to date, and is like a new one."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import wbsync
from wbsync.lake import FORMAT
from wbsync.sandbox.process import Sandbox
from wbsync.sync import migrations
from wbsync.sync.holding import held
from wbsync.sync.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

HISTORY_FIELDS = {"history", "parquetHistory", "events"}


def quiet(event: object) -> None:
    """Takes an event and says nothing."""


def write_format_1(source: Path, root: Path) -> None:
    """Calls the builder beside this file."""
    path = Path(__file__).with_name("old_format.py")
    spec = importlib.util.spec_from_file_location("old_format", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_format_1(source, root)


def test_an_older_warehouse_is_migrated(
    logged: Path,
    tmp_path: Path,
    wbsync_env: Any,
    run_script: Any,
    content_of: Any,
    wbsync_cli: Callable[..., Any],
) -> None:
    """It is read before a sync, migrated by one without asking W&B anew, and grows from there."""
    data, root = tmp_path / "data", tmp_path / "old"
    shutil.copytree(logged, data)
    with Sandbox(data) as sandbox:
        wbsync_env(sandbox)
        wbsync.open(tmp_path / "new").sync("sandbox/main")
        write_format_1(tmp_path / "new", root)
        older = shutil.copytree(root, tmp_path / "killed")

        told = wbsync_cli(sandbox, "sql", "SELECT count(*) FROM runs", "--format", "json",
                          warehouse=root)  # fmt: skip
        assert [*json.loads(told.stdout)[0].values()] == [4]
        told = wbsync_cli(sandbox, "changes", warehouse=root)
        assert (told.returncode, "run `wbsync sync` once" in told.stderr) == (1, True)

        asked = len(sandbox.requests())
        wbsync.open(root).sync("sandbox/main")
        fields = {f for r in sandbox.requests()[asked:] for f in r.get("fields") or ()}
        assert not fields & HISTORY_FIELDS
        assert json.loads((root / "wbsync-warehouse.json").read_text())["format"] == FORMAT
        assert content_of(root) == content_of(tmp_path / "new")
        with held(root, quiet) as holding:
            assert verify(holding, (), quiet, deep=True).problems == []
        query = "SELECT * EXCLUDE (synced_at, source) FROM ledger ORDER BY ALL"
        assert ledger_of(root, query) == ledger_of(tmp_path / "new", query)

        # A migration that was killed after its first commit goes on.
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(
                migrations.MIGRATIONS, 1,
                lambda held, say: (migrations._count_cursors(held, "history", say), 1 / 0),
            )  # fmt: skip
            with pytest.raises(ZeroDivisionError), held(older, quiet):
                pass
        with held(older, quiet) as holding:
            assert verify(holding, (), quiet, deep=True).problems == []
        query = query.replace("ORDER", "WHERE table_name <> 'run_files' ORDER")  # None synced yet.
        assert ledger_of(older, query) == ledger_of(root, query)

        # Counts go on from the migrated ones; new columns are written.
        run_script("grow_run.py", sandbox, tmp_path, "main", "late", "3")
        for grown in (root, older):
            wbsync.open(grown).sync("sandbox/main")
            with held(grown, quiet) as holding:
                assert verify(holding, (), quiet, deep=True).problems == []
        wbsync.open(tmp_path / "new").sync("sandbox/main")
        assert content_of(root) == content_of(older) == content_of(tmp_path / "new")
        columns = set(pl.read_delta(str(root / "lake" / "runs")).columns)
        assert {"gpu_count", "branch_point"} <= columns


def ledger_of(root: Path, query: str) -> list[Any]:
    """Asks a warehouse, and closes it."""
    with wbsync.open(root) as warehouse:
        return warehouse.sql(query).fetchall()


def test_each_format_has_a_way_to_the_next() -> None:
    """There is a migration from every older format, and none from this one."""
    assert sorted(migrations.MIGRATIONS) == list(range(1, FORMAT))
