"""What the lake's files hold, as other engines read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

from wbsync.extract.rows import build_table
from wbsync.lake import Lake

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
