"""Queries about artifacts, on a small graph whose answers are known by hand."""

from __future__ import annotations

from typing import Any

NOW = "2026-03-02T12:00:00Z"


def test_artifact_storage(ask: Any, rows_of: Any) -> None:
    """Bytes by collection; neither deleted nor pending versions count, nor other projects."""
    found = ask("artifact_storage")
    columns = ("entity", "collection", "versions", "bytes", "idle_versions", "idle_bytes")
    assert rows_of(found, *columns) == [
        ("team", "data", 3, 1209, 1, 9), ("team", "raw ☃", 1, 1000, 0, 0),
        ("team", "report", 1, 100, 1, 100), ("other", "data", 1, 77, 1, 77),
        ("team", "model", 2, 10, 0, 0),
    ]  # fmt: skip
    assert round(found["share"].sum(), 9) == 1
    found = ask("artifact_storage", project="team/lake", type="model")
    assert rows_of(found, "collection", "versions", "share") == [("model", 2, 1.0)]
    assert ask("artifact_storage", type="nothing").empty


def test_stale_artifacts(ask: Any, rows_of: Any) -> None:
    """Old, unused by any run of late, and without an alias; a deleted run is no user."""
    found = ask("stale_artifacts", now=NOW, days=80)
    columns = ("entity", "collection", "version", "idle_days", "last_used_at", "bytes")
    assert rows_of(found, *columns) == [
        ("other", "data", "v0", 200.0, None, 77), ("team", "data", "v2", 150.0, None, 9)
    ]  # fmt: skip
    found = ask("stale_artifacts", now=NOW, days=1, project="team")
    assert rows_of(found, "collection", "version", "idle_days", "last_used_at") == [
        ("data", "v2", 150.0, None), ("report", "v0", 2.0, None),
        ("model", "v0", 2.0, "2026-02-28T12:00:00"), ("raw ☃", "v0", 2.0, "2026-02-28T12:00:00"),
    ]  # fmt: skip
    found = ask("stale_artifacts", now=NOW, days=1, project="team/lake", latest=True)
    assert rows_of(found, "collection", "version", "idle_days") == [
        ("data", "v2", 150.0), ("data", "v1", 3.0), ("model", "v0", 2.0), ("model", "v1", 2.0),
        ("raw ☃", "v0", 2.0),
    ]  # fmt: skip


def test_artifact_runs(ask: Any, rows_of: Any) -> None:
    """By version, alias, collection, full path or id; used, logged or both; no deleted run."""
    users = [("team/lake/data:v0", "train0"), ("team/lake/data:v0", "train1")]
    for name in ("data:v0", "data:böst/1", "team/lake/data:v0", "team/lake/data:böst/1",
                 "id-team/lake/data-0"):  # fmt: skip
        assert rows_of(ask("artifact_runs", artifact=name), "artifact", "run_id") == users
    found = ask("artifact_runs", artifact="data", project="team/lake", direction="any")
    assert rows_of(found, "artifact", "direction", "run_id") == [
        ("team/lake/data:v0", "logged", "prepare"), ("team/lake/data:v0", "used", "train0"),
        ("team/lake/data:v0", "used", "train1"), ("team/lake/data:v1", "logged", "prepare"),
    ]  # fmt: skip
    assert ask("artifact_runs", artifact="data:v0", project="other").empty
    assert ask("artifact_runs", artifact="' OR 1=1 --").empty


def test_lineage(ask: Any, rows_of: Any) -> None:
    """Up and down from run to run; a loop ends, a deleted run is no way, other projects are."""
    columns = ("direction", "hop", "project", "run_id", "artifact")
    found = ask("lineage", artifact="data:v0", project="team/lake")
    assert rows_of(found, *columns) == [
        ("up", 1, "lake", "prepare", "raw ☃:v0"), ("down", 1, "lake", "train0", "model:v0"),
        ("down", 1, "lake", "train1", "model:v1"), ("down", 2, "eval", "judge", "report:v0"),
    ]  # fmt: skip
    found = ask("lineage", artifact="report:v0", direction="up")
    assert rows_of(found, *columns) == [
        ("up", 1, "eval", "judge", "model:v0"), ("up", 1, "eval", "judge", "model:v1"),
        ("up", 2, "lake", "train0", "data:v0"), ("up", 2, "lake", "train1", "data:v0"),
        ("up", 2, "lake", "train1", "model:v1"), ("up", 2, "lake", "train1", "y:v0"),
        ("up", 3, "lake", "prepare", "raw ☃:v0"),
    ]  # fmt: skip
    found = ask("lineage", artifact="model:latest", direction="down")
    assert rows_of(found, *columns)[0] == ("down", 1, "eval", "judge", "report:v0")
    assert ask("lineage", artifact="report:v0", direction="down").empty
