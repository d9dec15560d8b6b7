"""Writes a warehouse as wbsync of format 1 did, with deltalake and DuckDB alone.

Format 1 had no ledger and no change log, cursors that did not count, and plain files that other
writers of Delta tables could have written. Its rows are taken from a warehouse of today.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

CURSOR_FIELDS = (
    "storage_id", "last_step", "rows", "claimed_rows", "claimed_last_step", "branch_point",
)  # fmt: skip
TABLES = (
    "artifact_aliases", "artifact_collections", "artifact_types", "artifacts", "history",
    "history_keys", "projects", "run_artifacts", "run_config", "run_summary", "run_tags", "runs",
    "sweeps", "system_metrics",
)  # fmt: skip
LATER_COLUMNS = {"runs": ["gpu_count", "branch_point"], "history_keys": ["source"]}
"""Columns that are left out, as if today's wbsync had added them."""


def write_format_1(source: Path, root: Path) -> None:
    """Writes what a warehouse of today holds as format 1 would have held it."""
    root.mkdir()
    marker = {"format": 1, "written_by": "0.1.0"}
    (root / "wbsync-warehouse.json").write_text(json.dumps(marker), encoding="utf-8")
    for table in TABLES:
        if (source / "lake" / table).is_dir():
            _write_table(source / "lake" / table, root / "lake" / table)
    (root / "catalog").mkdir()
    with duckdb.connect(str(root / "catalog" / "1.duckdb")) as connection:
        connection.execute("CREATE TABLE _wbsync_published (table_name VARCHAR, stamp VARCHAR)")
        runs = DeltaTable(root / "lake" / "runs").to_pyarrow_table()
        connection.register("held", runs)
        connection.execute("CREATE TABLE runs_all AS SELECT * FROM held")
        connection.execute("CREATE VIEW runs AS FROM runs_all WHERE deleted_at IS NULL")
    shutil.copyfile(root / "catalog" / "1.duckdb", root / "warehouse.duckdb")


def _write_table(source: Path, target: Path) -> None:
    table = DeltaTable(source)
    rows = table.to_pyarrow_table().drop_columns(LATER_COLUMNS.get(target.name, []))
    cursors: dict[tuple[str, str, str], Any] = {}
    for commit in reversed(table.history()):
        for *run, cursor in json.loads(commit.get("wbsync.cursors", "[]")):
            cursors[run[0], run[1], run[2]] = {name: cursor[name] for name in CURSOR_FIELDS}
    if not cursors:
        write_deltalake(target, rows)
        return
    # Half of the runs in a commit of their own, as a sync of several segments would have it.
    runs = sorted(cursors)
    for chosen in (runs[::2], runs[1::2]):
        said = json.dumps([[*run, cursors[run]] for run in chosen])
        write_deltalake(
            target,
            _of_runs(rows, [run_id for _, _, run_id in chosen]),
            mode="append",
            commit_properties=CommitProperties(custom_metadata={"wbsync.cursors": said}),
        )


def _of_runs(rows: pa.Table, run_ids: list[str]) -> pa.Table:
    import pyarrow as pa

    return rows.filter(pc.is_in(rows["run_id"], value_set=pa.array(run_ids, pa.string())))
