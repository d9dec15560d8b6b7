"""Queries about hours, hardware and failures: computed a second time in pandas or by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest


def with_hours(held: Any, project: str | None = None) -> pd.DataFrame:
    """Returns the runs of ENTITY/PROJECT, with hours and GPU-hours."""
    runs = held["runs"]
    runs["path"] = runs["entity"] + "/" + runs["project"]
    if project:
        runs = runs[runs["path"] == project].copy()
    lasted = (runs["heartbeat_at"] - runs["created_at"]).dt.total_seconds()
    runs["hours"] = runs["compute_seconds"].fillna(lasted).fillna(0).clip(lower=0) / 3600
    runs["gpu_hours"] = runs["hours"] * runs["gpu_count"].fillna(0)
    return runs


@pytest.mark.parametrize(
    ("by", "column"), [("user", "username"), ("project", "path"), ("host", "host"), ("gpu", "gpu")]
)
def test_gpu_hours(held: Any, ask: Any, rows_of: Any, by: str, column: str) -> None:
    """Hours and GPU-hours add up by user, project, host and GPU; no deleted run counts."""
    found = ask("gpu_hours", by=by)
    runs = with_hours(held)
    groups = runs.groupby(column, dropna=False)
    wanted = pd.DataFrame({
        "runs": groups.size(), "hours": groups["hours"].sum(),
        "gpu_hours": groups["gpu_hours"].sum(),
        "gpu_share": groups["gpu_hours"].sum() / runs["gpu_hours"].sum(),
        "running": groups["state"].agg(lambda s: (s == "running").sum()),
        "runs_without_gpu": groups["gpu_count"].agg(lambda g: g.isna().sum()),
    }).reset_index(names="name").sort_values(
        ["gpu_hours", "hours"], ascending=False
    )  # fmt: skip
    columns = [c for c in wanted.columns if c != "name"]
    assert sorted(rows_of(found, "name", *columns), key=repr) == sorted(
        rows_of(wanted.astype({"name": object}), "name", *columns), key=repr
    )
    assert found["gpu_hours"].is_monotonic_decreasing
    assert found["gpu_share"].sum() == pytest.approx(1)
    assert found["runs"].sum() == len(runs)


def test_gpu_hours_of_groups_and_times(ask: Any, rows_of: Any) -> None:
    """Groups of different projects are apart, runs of none together; times bound what counts."""
    found = ask("gpu_hours", by="group", project="team/ops", since="2026-02-15", until="2026-02-20")
    assert rows_of(found, "name", "runs", "hours", "gpu_hours") == [
        ("team/ops/nightly", 1, 5.0, 40.0), (None, 2, 10.0, 4.0)
    ]  # fmt: skip
    nothing = ask("gpu_hours", project="other")
    assert rows_of(nothing, "runs", "gpu_hours", "gpu_share") == [(2, 0.0, None)]
    assert ask("gpu_hours", since="2030-01-01").empty


def test_throughput(held: Any, ask: Any, rows_of: Any) -> None:
    """Steps a second by hardware; runs without steps or without time do not count."""
    found = ask("throughput", project="team/ops", by="gpu")
    runs = with_hours(held, "team/ops")
    runs["steps"] = runs["last_step"] + 1
    runs = runs[(runs["steps"] > 0) & (runs["hours"] > 0)]
    runs["rate"] = runs["steps"] / runs["hours"] / 3600
    groups = runs.groupby(["gpu", "gpu_count"], dropna=False)
    wanted = pd.DataFrame({
        "runs": groups.size(), "steps": groups["steps"].sum(), "hours": groups["hours"].sum(),
        "mean_rate": groups["steps"].sum() / groups["hours"].sum() / 3600,
        "median_rate": groups["rate"].median(), "min_rate": groups["rate"].min(),
        "max_rate": groups["rate"].max(),
    }).sort_values("mean_rate", ascending=False)  # fmt: skip
    assert len(wanted) == 3
    assert rows_of(found, *wanted.columns) == rows_of(wanted)


@pytest.mark.parametrize("share", [0.5, 0.0, 0.99])
def test_idle_gpus(held: Any, ask: Any, share: float) -> None:
    """A GPU's idle samples are counted, NaN and the process's own share left out."""
    found = ask("idle_gpus", share=share)
    samples = held["system_metrics"].merge(held["runs"][["entity", "project", "run_id"]])
    samples = samples[samples["key"].str.fullmatch(r"system\.gpu\.\d+\.gpu")]
    samples = samples[np.isfinite(samples["value"])]
    groups = samples.groupby(["run_id", "key"])
    idle = groups["value"].agg(lambda v: (v < 10).mean())
    hours = groups["timestamp"].agg(lambda t: (t.max() - t.min()) / 3600)
    wanted = idle[idle >= share]
    assert len(found) == len(wanted)
    assert share < 1 <= len(wanted) or share > 0.9
    for row in found.itertuples():
        key = (row.run_id, f"system.gpu.{row.gpu}.gpu")
        assert row.idle_share == pytest.approx(wanted[key])
        assert row.hours == pytest.approx(hours[key])
        assert row.idle_hours == pytest.approx(hours[key] * wanted[key])
        assert row.samples == groups.size()[key] == 19
        assert row.mean_percent == pytest.approx(groups["value"].mean()[key])


def test_zombies(ask: Any, rows_of: Any) -> None:
    """Running and silent: not one that was heard of lately, nor one that has ended."""
    found = ask("zombies", now="2026-03-02T12:00:00Z")
    columns = ("run_id", "silent_hours", "last_step", "host", "heard_at")
    assert rows_of(found, *columns) == [("o4", 354.0, 200, "node-0", "2026-02-15T18:00:00")]
    found = ask("zombies", now=datetime(2026, 3, 2, 12), hours=0.1)  # noqa: DTZ001
    assert rows_of(found, "run_id", "silent_hours") == [("o4", 354.0), ("o8", 0.5)]
    assert ask("zombies", now="now", project="other").empty


def test_failures(held: Any, ask: Any, rows_of: Any) -> None:
    """How runs ended, in which stage, as a share of all runs of that place."""
    found = ask("failures", project="team/ops", by="host")
    assert rows_of(found, "name", "state", "stage", "last_run", "hours") == [
        ("node-0", "crashed", "set-up", "o2", 2.0), ("node-0", "crashed", "training", "o10", 10.0),
        ("node-0", "preempted", "training", "o6", 6.0),
        ("node-1", "failed", "numbers", "o5", 5.0), ("node-1", "failed", "set-up", "o1", 1.0),
        ("node-1", "failed", "training", "o7", 7.0), ("node-1", "killed", "training", "o3", 3.0),
    ]  # fmt: skip
    assert set(found["share"].round(6)) == {round(1 / 6, 6)}
    runs = held["runs"]
    bad = runs[runs["state"].isin(["failed", "crashed", "killed", "preempted"])]
    for by, column in (("user", "username"), ("program", "program")):
        found = ask("failures", by=by)
        assert found["runs"].sum() == len(bad)
        totals = runs.groupby(column, dropna=False).size()
        for row in found.itertuples():
            total = totals[[i for i in totals.index if i == row.name or row.name != row.name]]
            if isinstance(row.name, str):
                assert row.share == pytest.approx(row.runs / totals[row.name])
            else:
                assert len(total)
    assert ask("failures", project="team/ops", since="2026-02-25").empty


@pytest.mark.parametrize(("unit", "by"), [("week", "all"), ("day", "user"), ("month", "project")])
def test_activity(held: Any, ask: Any, rows_of: Any, unit: str, by: str) -> None:
    """Runs, users, steps and hours of each period, weeks from Monday, in UTC."""
    found = ask("activity", unit=unit, by=by)
    runs = with_hours(held)
    code = {"week": "W-SUN", "day": "D", "month": "M"}[unit]
    runs["period"] = runs["created_at"].dt.to_period(code).dt.start_time
    runs["name"] = {"all": "all", "user": runs["username"], "project": runs["path"]}[by]
    runs["steps"] = (runs["last_step"] + 1).fillna(0)
    groups = runs.groupby(["period", "name"], dropna=False)
    wanted = pd.DataFrame({
        "runs": groups.size(), "users": groups["username"].nunique(),
        "finished": groups["state"].agg(lambda s: (s == "finished").sum()),
        "failed": groups["state"].agg(
            lambda s: s.isin(["failed", "crashed", "killed", "preempted"]).sum()
        ),
        "running": groups["state"].agg(lambda s: s.isin(["running", "pending"]).sum()),
        "steps": groups["steps"].sum(), "hours": groups["hours"].sum(),
        "gpu_hours": groups["gpu_hours"].sum(),
    }).reset_index()  # fmt: skip
    wanted["name"] = wanted["name"].astype(object)
    assert rows_of(found) == rows_of(wanted)
    assert (found["period"].dt.day_of_week == 0).all() or unit != "week"
