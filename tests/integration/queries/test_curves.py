"""Queries about histories: each answer is computed a second time, in pandas or by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest


def points(held: Any, project: str, key: str) -> dict[str, pd.DataFrame]:
    """Returns each run's finite values that have a step, in order."""
    found = held.finite("history", project, key).dropna(subset=["step"])
    return {
        name: rows.sort_values(["step", "row"]).reset_index(drop=True)
        for name, rows in found.groupby("run_id")
    }


@pytest.mark.parametrize(("pieces", "smoothing"), [(1, 0.5), (7, 0.0), (40, 0.9)])
def test_curves(held: Any, ask: Any, pieces: int, smoothing: float) -> None:
    """Means in equal pieces of the common axis, straight lines between, a corrected average."""
    found = ask("curves", project="team/curves", metric="loss", points=pieces, smoothing=smoothing)
    curves = points(held, "team/curves", "loss")
    low = min(c["step"].min() for c in curves.values())
    high = max(c["step"].max() for c in curves.values())
    assert set(found["run_id"]) == set(curves) == {
        "steady", "plateau", "blown", "nan", "inf", "one", "sparse"
    }  # fmt: skip
    for name, rows in found.groupby("run_id"):
        curve = curves[name]
        piece = np.minimum(((curve["step"] - low) / (high - low) * pieces).astype(int), pieces - 1)
        means = curve.groupby(piece)["value"].mean()
        assert rows["samples"].sum() == len(curve)
        assert list(rows["piece"]) == list(range(piece.min(), piece.max() + 1))
        value = np.interp(rows["piece"], means.index, means)
        np.testing.assert_allclose(rows["value"], value)
        smooth = [
            sum(value[j] * smoothing ** (i - j) for j in range(i + 1))
            / sum(smoothing ** (i - j) for j in range(i + 1))
            for i in range(len(value))
        ]
        np.testing.assert_allclose(rows["smoothed"], smooth)
        x = low + (rows["piece"] + 0.5) * (high - low) / pieces
        np.testing.assert_allclose(rows["x"], x)


def test_curves_on_another_axis(ask: Any, rows_of: Any) -> None:
    """The axis is what was logged in the same row; rows without it are left out."""
    found = ask(
        "curves", project="team/curves", metric="loss", run=["inf", "sparse"], axis="_runtime",
        points=5, smoothing=0,
    )  # fmt: skip
    assert rows_of(found, "run_id", "piece", "x", "value", "samples") == [
        ("inf", 0, 30.0, 0.5, 1), ("inf", 1, 90.0, 0.35, 2),
        ("sparse", 0, 30.0, 4.0, 1), ("sparse", 1, 90.0, 3.5, 0), ("sparse", 2, 150.0, 3.0, 0),
        ("sparse", 3, 210.0, 2.5, 0), ("sparse", 4, 270.0, 2.0, 1),
    ]  # fmt: skip
    assert ask("curves", project="team/curves", metric="loss", axis="nothing").empty
    only = ask("curves", project="team/curves", metric="loss", run=["one"])
    assert rows_of(only, "piece", "x", "value", "smoothed") == [(0, 5.0, 0.7, 0.7)]


@pytest.mark.parametrize(
    ("goal", "target"), [("minimize", 0.6), ("minimize", -1.0), ("maximize", 1.0)]
)
def test_time_to_target(held: Any, ask: Any, rows_of: Any, goal: str, target: float) -> None:
    """The first step at which each run is as good as the target, and how long it took."""
    found = ask(
        "time_to_target", project="team/curves", metric="loss", target=target, goal=goal
    )
    wanted = []
    for name, curve in points(held, "team/curves", "loss").items():
        value = curve["value"]
        hits = curve[value <= target] if goal == "minimize" else curve[value >= target]
        best = value.min() if goal == "minimize" else value.max()
        row = (name, len(hits) > 0, None, None, None, best)
        if len(hits):
            first = hits.iloc[0]
            row = (name, True, int(first["step"]), 3.0 * first["step"], first["value"], best)
        wanted.append(row)
    wanted.sort(key=lambda r: (not r[1], r[2] or 0, r[0]))
    assert len(wanted) == 7
    assert any(r[1] for r in wanted) or target < 0
    columns = ["run_id", "is_reached", "step", "seconds", "value", "best_value"]
    assert rows_of(found, *columns) == rows_of(pd.DataFrame(wanted, columns=columns, dtype=object))


def test_non_finite(held: Any, ask: Any, rows_of: Any) -> None:
    """Every NaN and infinity of every metric is counted, and none of a deleted run."""
    found = ask("non_finite", project="team")
    assert rows_of(found, "project", "run_id", "key", "first_step", "last_finite_step") == [
        ("curves", "inf", "loss", 10, 20), ("curves", "nan", "loss", 30, 20),
        ("fit", "bad", "train/loss", 0, None), ("fit", "bad", "val.loss", 0, None),
    ]  # fmt: skip
    counts = found.set_index(["run_id", "key"])
    deleted = {r["run_id"] for r in held.rows("runs") if r.get("deleted_at")}
    logged: dict[tuple[str, str], list[float]] = {}
    for row in held.rows("history"):
        if row["value"] is not None and row["entity"] == "team" and row["run_id"] not in deleted:
            logged.setdefault((row["run_id"], row["key"]), []).append(row["value"])
    assert deleted == {"gone", "ghost"}
    for place, values in logged.items():
        if any(not math.isfinite(v) for v in values):
            row = counts.loc[place]
            assert row["nan_values"] == sum(map(math.isnan, values))
            assert row["infinite_values"] == sum(map(math.isinf, values))
            assert row["finite_values"] == sum(map(math.isfinite, values))
        else:
            assert place not in counts.index
    assert len(ask("non_finite", project="team/curves", metric="loss")) == 2
    assert ask("non_finite", project="team/curves", metric="Loss").empty


def test_divergence(ask: Any, rows_of: Any) -> None:
    """Where a run first went wrong, how far in, what was logged after, and if it came back."""
    found = ask("divergence", project="team/curves", metric="loss")
    columns = ("run_id", "verdict", "step", "share", "value", "best_before", "values_after",
               "has_recovered", "hours_after")  # fmt: skip
    assert rows_of(found, *columns) == [
        ("nan", "not finite", 30, 0.3, None, 0.9, 8, False, 1.4),
        ("inf", "not finite", 10, 0.5, math.inf, 0.5, 3, True, 1.0),
        ("blown", "blew up", 60, 0.6, 3000.0, 1.0, 5, False, 0.8),
    ]
    found = ask("divergence", project="team/curves", metric="loss", factor=1e6)
    assert "blown" not in set(found["run_id"])
    found = ask("divergence", project="team/curves", metric="loss", goal="maximize", factor=0.4)
    assert rows_of(found, "run_id", "verdict", "step") == [
        ("plateau", "blew up", 20), ("nan", "not finite", 30), ("inf", "not finite", 10),
        ("steady", "blew up", 90), ("sparse", "blew up", 100),
    ]  # fmt: skip
    assert rows_of(ask("divergence", project="team/fit", metric="val.loss"), "run_id", "step") == [
        ("bad", 0)
    ]


def test_plateaus(held: Any, ask: Any) -> None:
    """From where on a run gained next to nothing, as a share of its steps and hours."""
    for goal, share in (("minimize", 0.3), ("maximize", 0.0)):
        found = ask("plateaus", project="team/curves", metric="loss", goal=goal, share=share)
        rows = found.set_index("run_id")
        wanted = set()
        for name, curve in points(held, "team/curves", "loss").items():
            sign = 1 if goal == "minimize" else -1
            cost, steps = sign * curve["value"], curve["step"]
            bound = cost.min() + 0.02 * (cost[0] - cost.min())
            settled = steps[cost <= bound].iloc[0]
            span = steps.iloc[-1] - steps[0]
            if not span or (steps.iloc[-1] - settled) / span < share:
                continue
            wanted.add(name)
            assert rows.loc[name, "settled_step"] == settled
            assert rows.loc[name, "plateau_share"] == pytest.approx(
                (steps.iloc[-1] - settled) / span
            )
            assert rows.loc[name, "plateau_hours"] == pytest.approx(
                2 * rows.loc[name, "plateau_share"]
            )
            assert rows.loc[name, "best_value"] == sign * cost.min()
            assert rows.loc[name, "first_value"] == curve["value"][0]
        assert set(rows.index) == wanted
        assert "plateau" in wanted


def test_overfit_gap(ask: Any, rows_of: Any) -> None:
    """Best and last validation value, and how much worse they are than training there."""
    found = ask("overfit_gap", project="team/fit", train="train/loss", validation="val.loss")
    assert rows_of(found, "run_id", "best_step", "last_step", "best_validation", "lost") == [
        ("over", 50, 100, 0.5, 0.5), ("fine", 100, 100, float(f"{1.1 - 100 / 120:.9g}"), 0.0)
    ]  # fmt: skip
    gaps = found.set_index("run_id")[["gap_at_best", "gap_at_last"]]
    np.testing.assert_allclose(gaps.loc["over"], [0.5 - (1 - 50 / 120), 1.0 - (1 - 100 / 120)])
    np.testing.assert_allclose(gaps.loc["fine"], [0.1, 0.1])
    found = ask(
        "overfit_gap", project="team/fit", train="no such key", validation="val.loss",
        goal="maximize",
    )  # fmt: skip
    assert rows_of(found, "run_id", "best_step", "last_validation", "gap_at_last") == [
        ("fine", 0, float(f"{1.1 - 100 / 120:.9g}"), None), ("over", 0, 1.0, None)
    ]  # fmt: skip
