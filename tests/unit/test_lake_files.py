"""What the lake's files hold, as other engines read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field

from wbsync.errors import MigrationError, WarehouseError
from wbsync.extract.rows import build_table
from wbsync.lake import Lake, check_warehouse, open_warehouse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("values", [[1.0, 2.0, math.nan], [math.nan], [math.nan, -math.inf, 0.0]])
def test_nan_is_compared_as_a_number(tmp_path: Path, values: list[float]) -> None:
    """NaN is found where it is looked for, and nowhere else, by DuckDB and by polars."""
    lake = Lake(tmp_path)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"entity": "e", "project": "p", "run_id": "r", "key": "k", "step": step, "row": 0,
         "value": value, "synced_at": now}
        for step, value in enumerate(values)
    ]  # fmt: skip
    lake.append("history", build_table("history", rows), {})
    files = [str(f) for f in lake.files("history")]
    nans = sum(map(math.isnan, values))

    def count(condition: str) -> int:
        query = f"SELECT count(*) FROM (SELECT 1 FROM read_parquet($files) WHERE {condition})"
        return duckdb.execute(query, {"files": files}).fetchall()[0][0]

    assert count("isnan(value)") == nans
    assert count("value = 'NaN'") == nans
    assert count("value < 'Infinity'") == len(values) - nans
    assert count("NOT value < 'Infinity'") == nans
    assert count("value <= 5") == len(values) - nans
    assert duckdb.execute(
        "SELECT isnan(max(value)) FROM read_parquet($files)", {"files": files}
    ).fetchall() == [(True,)]
    frame = pl.scan_delta(str(lake.root / "history"))
    assert frame.filter(pl.col("value").is_nan()).collect().height == nans
    assert frame.filter(pl.col("value") <= 5).collect().height == len(values) - nans


def test_every_engine_reads_the_encodings(tmp_path: Path) -> None:
    """Nothing but PLAIN, dictionaries and packed integers, which Spark's fast reader knows."""
    lake = Lake(tmp_path)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    place = {"entity": "e", "project": "p", "run_id": "r", "key": "k", "synced_at": now}
    history = [{**place, "step": n, "row": 0, "value": n / 7, "json": None} for n in range(100)]
    metrics = [{**row, "row": 0, "timestamp": row["value"]} for row in history]
    lake.append("history", build_table("history", history), {})
    lake.append("system_metrics", build_table("system_metrics", metrics), {})
    for table in ("history", "system_metrics"):
        for path in lake.files(table):
            group = pq.read_metadata(path).row_group(0)
            for place_of in range(group.num_columns):
                column = group.column(place_of)
                known = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}
                if column.physical_type in {"INT32", "INT64"}:
                    known |= {"DELTA_BINARY_PACKED"}
                assert {*column.encodings} <= known, column.path_in_schema


@pytest.mark.parametrize("name", ["C# [v1]", "a*b {x,y}", "50% off", "it's \"ours\"; é ~"])
def test_commits_are_read_in_any_folder(tmp_path: Path, name: str) -> None:
    """What a commit carries is read back, and a file that was put aside is known as such."""
    lake = Lake(tmp_path / name)
    rows = build_table("run_tags", [])
    for number in range(3):
        lake.append("run_tags", rows, {"number": str(number)})
    assert [info["number"] for _, info in lake.commits("run_tags", 0)] == ["1", "2"]
    assert [version for version, _ in lake.commits("run_tags", None)] == [0, 1, 2]


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a\\b", "a\nb"])
def test_a_folder_that_engines_misread_is_refused(tmp_path: Path, name: str) -> None:
    """Where Delta or DuckDB would write beside the folder, nothing is written at all."""
    with pytest.raises(WarehouseError, match="cannot be in a folder whose path holds"):
        open_warehouse(tmp_path / name)
    assert not list(tmp_path.iterdir())
    (tmp_path / name).mkdir()
    with pytest.raises(WarehouseError, match="rename it"):
        check_warehouse(tmp_path / name)


def test_an_older_wbsync_leaves_newer_columns_alone(tmp_path: Path) -> None:
    """A table with a column that this wbsync does not know is read, and never written anew."""
    lake = Lake(tmp_path)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    place = {"entity": "e", "project": "p", "run_id": "r", "synced_at": now}
    rows = build_table("run_tags", [{**place, "tag": tag} for tag in ("a", "b")])
    lake.append("run_tags", rows, {})
    table = DeltaTable(lake.path("run_tags"))
    table.alter.add_columns([Field("colour", "string")])
    files = lake.files("run_tags")
    key = rows.select(["tag"]).slice(0, 1)
    for write in (
        lambda: lake.replace("run_tags", key, rows.slice(0, 0), {}),
        lambda: lake.rewrite("run_tags", files, [rows], 1),
        lambda: lake.amend("run_tags", [("tag", "=", "a")], {"project": "q"}, {}),
    ):
        with pytest.raises(MigrationError, match="colour, of which this wbsync knows nothing"):
            write()
    assert lake.files("run_tags") == files
    assert lake.read("run_tags").num_rows == 2
