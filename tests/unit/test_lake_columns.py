"""Tables whose schema gained columns: old files read as NULL there, everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from wbsync.catalog import publish
from wbsync.errors import MigrationError
from wbsync.extract.rows import build_table
from wbsync.lake import Lake
from wbsync.lake.compact import compact

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def run(number: int, **more: object) -> dict[str, object]:
    """Returns a run's row."""
    key = {"entity": "e", "project": "p", "run_id": f"r{number}", "synced_at": NOW}
    return {**key, "notes": f"n{number}", **more}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake whose table runs was written before it had `gpu` and `deleted_at`."""
    rows = build_table("runs", [run(1), run(2)]).drop_columns(["gpu", "deleted_at"])
    write_deltalake(tmp_path / "lake" / "runs", rows)
    return Lake(tmp_path)


def gpus(lake: Lake) -> dict[str, str | None]:
    """Returns run id to GPU."""
    rows = lake.read("runs", columns=["gpu", "run_id"], filters=[("notes", "in", ["n1", "n2"])])
    return dict(zip(rows["run_id"].to_pylist(), rows["gpu"].to_pylist(), strict=True))


def test_what_a_file_lacks_is_null(lake: Lake, tmp_path: Path) -> None:
    """Reading, filtering, replacing, publishing and compacting old and new files together work."""
    assert gpus(lake) == {"r1": None, "r2": None}
    lake.append("runs", build_table("runs", [run(3, gpu="H100")]), {"what": "new"})
    assert {f.name for f in DeltaTable(lake.path("runs")).schema().fields} >= {"gpu", "deleted_at"}
    assert [c.get("what") for _, c in lake.commits("runs", None)][-1] == "new"
    assert len(lake.parts("runs")) == 2
    assert gpus(lake) == {"r1": None, "r2": None}
    whole = lake.read("runs")
    assert whole.num_rows == 3
    assert whole.schema.names == build_table("runs", []).schema.names
    assert lake.read("runs", filters=[("gpu", "=", "H100")])["run_id"].to_pylist() == ["r3"]
    scope = pa.table({"run_id": ["r2", "r9"]})
    lake.replace("runs", scope, build_table("runs", [run(2, gpu="A100")]), {})
    assert gpus(lake) == {"r1": None, "r2": "A100"}
    path = publish(tmp_path, lake).path
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT run_id, gpu FROM runs ORDER BY 1").fetchall()
    assert found == [("r1", None), ("r2", "A100"), ("r3", "H100")]
    lake.append("runs", build_table("runs", [run(4)]), {})
    assert compact(lake, "runs", tmp_path / "spill") is not None
    assert len(lake.parts("runs")) == 1
    assert gpus(lake) == {"r1": None, "r2": "A100"}
    assert {c for p in lake.parts("runs", version=0) for c in p.lacking} == {"gpu", "deleted_at"}


def test_a_table_without_the_columns_is_published(lake: Lake, tmp_path: Path) -> None:
    """An old table nobody has written to since is shown with the new columns, as NULL."""
    path = publish(tmp_path, lake).path
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT run_id, gpu, deleted_at FROM runs_all").fetchall()
    assert sorted(found) == [("r1", None, None), ("r2", None, None)]


def test_a_column_that_is_never_null_cannot_be_added(tmp_path: Path) -> None:
    """Rows that are there cannot have it: the message names table and column."""
    rows = build_table("runs", [run(1)]).drop_columns(["run_id"])
    write_deltalake(tmp_path / "lake" / "runs", rows)
    with pytest.raises(MigrationError, match=r"lake/runs.* lacks run_id"):
        Lake(tmp_path).append("runs", build_table("runs", [run(2)]), {})
