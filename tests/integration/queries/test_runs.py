"""Queries about runs and their settings: each answer is computed a second time, in pandas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_leaderboard(held: Any, ask: Any, rows_of: Any, goal: str) -> None:
    """The best finite values in order; NaN, infinity, texts and deleted runs are never best."""
    found = ask("leaderboard", project="team/vision", metric="val/loss", goal=goal, top=7)
    wanted = held.finite("run_summary", "team/vision", "val/loss")
    assert len(wanted) == 36
    wanted = wanted.sort_values("value", ascending=goal == "minimize").head(7)
    assert rows_of(found, "run_id", "value") == rows_of(wanted, "run_id", "value")
    assert list(found["rank"]) == [1, 2, 3, 4, 5, 6, 7]


def test_leaderboard_ties_and_entities(ask: Any, rows_of: Any) -> None:
    """Equal values share a rank, the older first; another entity's project is not mixed in."""
    found = ask("leaderboard", project="team", metric="acc", goal="maximize", top=9)
    assert rows_of(found, "rank", "project", "run_id", "value") == [
        (1, "seeds", "r23", 2.3), (2, "seeds", "r22", 2.2), (3, "seeds", "r21", 2.1),
        (4, "seeds", "r20", 2.0), (5, "seeds", "r12", 1.2), (6, "seeds", "r11", 1.1),
        (7, "seeds", "r10", 1.0), (8, "lake", "train0", 0.9), (9, "seeds", "copy0", 0.5),
        (9, "seeds", "copy1", 0.5), (9, "seeds", "copy2", 0.5),
    ]  # fmt: skip
    found = ask("leaderboard", project="other/seeds", metric="acc")
    assert rows_of(found, "entity", "run_id", "value") == [("other", "r00", 9.0)]
    assert ask("leaderboard", project="team/vision", metric="VAL/LOSS").empty


def test_leaderboard_of_a_tag_or_state(ask: Any, rows_of: Any) -> None:
    """Only runs with the tag, only runs in the state, and a hostile tag is a tag."""
    found = ask("leaderboard", project="team/seeds", metric="acc", tag="it's; DROP TABLE runs --")
    assert rows_of(found, "run_id") == [("tagged",)]
    found = ask("leaderboard", project="team/ops", metric="loss", state="running")
    assert rows_of(found, "run_id", "rank") == [("o4", 1), ("o8", 1)]


@pytest.mark.parametrize(
    ("by", "column"), [("group", "group_name"), ("sweep", "sweep_id"), ("user", "username")]
)
def test_best_runs(held: Any, ask: Any, rows_of: Any, by: str, column: str) -> None:
    """One row a group: its best run, how many there are, their mean and spread."""
    found = ask("best_runs", project="team/vision", metric="val/loss", by=by)
    scored = held.finite("run_summary", "team/vision", "val/loss").sort_values("value")
    groups = scored.groupby(column)
    wanted = pd.DataFrame({
        "name": groups[column].first(), "runs": groups.size(), "best_value": groups["value"].min(),
        "mean": groups["value"].mean(), "stddev": groups["value"].std(),
        "run_id": groups["run_id"].first(),
    }).sort_values("best_value")  # fmt: skip
    assert len(wanted) >= 1
    assert rows_of(found, *wanted.columns) == rows_of(wanted)


def test_best_runs_leaves_out_what_belongs_to_none(ask: Any, rows_of: Any) -> None:
    """Runs without a group, or with an empty one, make no group."""
    found = ask("best_runs", project="team/ops", metric="loss", by="group")
    assert rows_of(found, "name", "runs", "run_id") == [("nightly", 5, "o1")]


def ranks(values: pd.Series) -> pd.Series:
    """Returns mean ranks from 1."""
    return values.rank(method="average")


def classes(values: pd.Series, bins: int) -> pd.Series:
    """Returns classes of about as many values; few different ones are a class each."""
    if values.nunique() <= bins:
        return values.rank(method="dense")
    return np.floor((values.rank(method="min") - 1) * bins / len(values))


def information(x: pd.Series, y: pd.Series) -> float:
    """Returns the mutual information of two classifications beyond chance, in nats."""
    joint = pd.crosstab(x, y).to_numpy() / len(x)
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    found = float((joint[joint > 0] * np.log(joint[joint > 0] / apart[joint > 0])).sum())
    freedom = (joint.shape[0] - 1) * (joint.shape[1] - 1)
    return max(0.0, found - (freedom + 2 * math.sqrt(2 * freedom)) / (2 * len(x)))


@pytest.mark.parametrize("bins", [None, 2, 5])
def test_parameter_importance(held: Any, ask: Any, bins: int | None) -> None:
    """Rank correlation and mutual information of each key are what pandas and numpy compute."""
    values = {} if bins is None else {"bins": bins}
    found = ask(
        "parameter_importance", project="team/vision", metric="val/loss", sweep="sw1", **values
    ).set_index("key")
    scores = held.finite("run_summary", "team/vision", "val/loss").set_index("run_id")["value"]
    leaves = held["run_config"]
    leaves = leaves[(leaves["project"] == "vision") & leaves["run_id"].isin(scores.index)]
    wanted = {k: g.set_index("run_id") for k, g in leaves.groupby("key") if k != "constant"}
    assert set(found.index) == set(wanted)
    for key, leaf in wanted.items():
        score = scores[leaf.index]
        is_numeric = leaf["value"].notna().all()
        assert found.loc[key, "is_numeric"] == is_numeric
        same = leaf["value"].map(repr) + leaf["json"].map(repr)
        assert found.loc[key, "distinct_values"] == same.nunique()
        value = leaf["value"] if is_numeric else same.astype("category").cat.codes
        chosen = classes(value, bins or 3) if is_numeric else value
        beyond = information(chosen, classes(score, bins or 3))
        assert found.loc[key, "mutual_information"] == pytest.approx(beyond, abs=2e-6)
        rho = ranks(value).corr(ranks(score)) if is_numeric else math.nan
        assert found.loc[key, "rank_correlation"] == pytest.approx(rho, abs=2e-6, nan_ok=True)
        best = max(0.0 if math.isnan(rho) else abs(rho), math.sqrt(1 - math.exp(-2 * beyond)))
        assert found.loc[key, "importance"] == pytest.approx(best, abs=1e-5)
    assert list(found["importance"]) == sorted(found["importance"], reverse=True)


def test_parameter_importance_finds_what_matters(ask: Any) -> None:
    """What made the metric comes first: V-shaped depth and lr, before noise, names and width."""
    found = ask("parameter_importance", project="team/vision", metric="val/loss", min_runs=5)
    assert set(found["key"][:2]) == {"model.depth", "lr"}
    importance = found.set_index("key")["importance"]
    assert min(importance["model.depth"], importance["lr"]) > 0.5
    assert max(importance["noise"], importance["name"], importance["model.width/px"]) < 0.3


@pytest.mark.parametrize("bins", [1, 5, 100])
def test_parameter_effect(held: Any, ask: Any, rows_of: Any, bins: int) -> None:
    """Numbers fall into classes of about as many runs, with mean, median and spread each."""
    found = ask(
        "parameter_effect", project="team/vision", metric="val/loss", parameter="lr", bins=bins
    )
    scored = held.finite("run_summary", "team/vision", "val/loss")[["run_id", "value"]]
    both = held.values("run_config", "team/vision", "lr")[["run_id", "value"]].merge(
        scored, on="run_id", suffixes=("", "_score")
    )
    both["class"] = classes(both["value"], bins)
    groups = both.groupby("class")
    wanted = pd.DataFrame({
        "low": groups["value"].min(), "high": groups["value"].max(), "runs": groups.size(),
        "mean": groups["value_score"].mean(), "median": groups["value_score"].median(),
        "stddev": groups["value_score"].std(), "min": groups["value_score"].min(),
        "max": groups["value_score"].max(),
    })  # fmt: skip
    assert rows_of(found, *wanted.columns) == rows_of(wanted)
    assert found["text"].isna().all()


def test_parameter_effect_of_texts(ask: Any, rows_of: Any) -> None:
    """Numbers and texts under one key are told apart; booleans are no numbers."""
    found = ask("parameter_effect", project="team/vision", metric="val/loss", parameter="mixed",
                bins=2)  # fmt: skip
    assert rows_of(found, "low", "high", "text", "runs") == [
        (0, 20, None, 9), (22, 38, None, 9), (None, None, '"auto"', 18)
    ]  # fmt: skip
    found = ask("parameter_effect", project="team/drift", metric="acc", parameter="old")
    assert found.empty


def test_seed_spread(held: Any, ask: Any, rows_of: Any) -> None:
    """Runs that differ in their seeds alone are one setting; a NaN is a run without value."""
    found = ask("seed_spread", project="team/seeds", metric="acc", goal="maximize")
    runs = held.values("run_summary", "team/seeds", "acc")
    runs = runs[runs["run_id"] != "tagged"]
    setting = runs["run_id"].str.replace("copy", "r0").str[1]
    groups = runs.groupby(setting)["value"]
    wanted = pd.DataFrame({
        "runs": groups.size(), "scored": groups.count(), "mean": groups.mean(),
        "stddev": groups.std(), "standard_error": groups.sem(), "min": groups.min(),
        "max": groups.max(),
    }).sort_values("mean", ascending=False)  # fmt: skip
    assert list(wanted["runs"]) == [4, 4, 7]
    assert rows_of(found, *wanted.columns) == rows_of(wanted)
    assert list(found["first_run"]) == ["r20", "r10", "r00"]
    assert '"lr":1e-8' in found["config"][1]


def test_duplicate_configs(ask: Any, rows_of: Any) -> None:
    """Copies of a run are found, and what they cost; runs without a config are no copies."""
    found = ask("duplicate_configs", project="team/seeds")
    assert rows_of(found, "runs", "first_run", "run_ids", "repeated_hours") == [
        (4, "r00", "copy0,copy1,copy2,r00", plain_hours(150))
    ]
    found = ask("duplicate_configs", project="team/seeds", ignore=["seed"])
    assert rows_of(found, "runs", "first_run") == [(7, "r00"), (4, "r10"), (4, "r20")]
    found = ask("duplicate_configs")
    assert rows_of(found, "entity", "project", "runs") == [
        ("team", "drift", 5), ("team", "drift", 5), ("team", "seeds", 4)
    ]  # fmt: skip
    assert ask("duplicate_configs", project="other").empty


def plain_hours(seconds: float) -> float:
    """Returns hours to nine digits."""
    return float(f"{seconds / 3600:.9g}")


def test_compare_runs(ask: Any, rows_of: Any) -> None:
    """Only what differs, with -infinity, missing keys, and integers that a double cannot hold."""
    found = ask("compare_runs", project="team/vision", a="s01", b="s06")
    rows = {(r[0], r[1]): r[2:] for r in rows_of(found)}
    assert set(rows) == {
        ("run", "display_name"), ("run", "group_name"), ("config", "bag"), ("config", "lr"),
        ("config", "mixed"), ("config", "model.depth"), ("config", "name"), ("config", "noise"),
        ("summary", "Loss"), ("summary", "val/loss"),
    } | {k for k in rows if k[1] in {"optimizer", "model.width/px"}}  # fmt: skip
    assert rows["run", "group_name"] == (None, None, None, "g 1", "g 0")
    assert rows["config", "mixed"] == (None, 6.0, None, '"auto"', None)
    assert rows["summary", "val/loss"][1:3] == (-math.inf, -math.inf)
    assert [r[0] for r in rows_of(found)] == sorted(
        (r[0] for r in rows_of(found)), key=["run", "config", "summary"].index
    )
    found = ask("compare_runs", project="team/exact", a="big", b="bigger")
    assert rows_of(found, "key", "difference", "a_text", "b_text")[1:] == [
        ("gone", None, "null", None), ("n", 0.0, str(2**60), str(2**60 + 1)),
    ]  # fmt: skip
    found = ask("compare_runs", project="team/seeds", a="r00", b="r00")
    assert found.empty


def test_compare_configs(ask: Any, rows_of: Any) -> None:
    """A row for each run and each key that differs; what a run lacks is said."""
    found = ask("compare_configs", project="team/drift", run=["m10", "m11", "m21"])
    assert rows_of(found, "key", "run_id", "is_set", "value", "text") == [
        ("kind", "m10", True, None, '"a"'), ("kind", "m11", True, None, '"a"'),
        ("kind", "m21", True, 1.0, None),
        ("lr", "m10", True, 0.5, None), ("lr", "m11", True, 0.1, None),
        ("lr", "m21", True, 0.01, None),
        ("new key", "m10", False, None, None), ("new key", "m11", False, None, None),
        ("new key", "m21", True, None, '"x"'),
        ("old", "m10", True, 1.0, "true"), ("old", "m11", True, 1.0, "true"),
        ("old", "m21", False, None, None),
    ]  # fmt: skip
    by_sweep = ask("compare_configs", project="team/vision", sweep="sw1")
    assert "constant" not in set(by_sweep["key"])
    assert len(by_sweep) == 40 * by_sweep["key"].nunique()
    assert ask("compare_configs", project="team/vision", group="g 0")["run_id"].nunique() == 14


def test_config_drift(ask: Any, rows_of: Any) -> None:
    """What came, went and changed between two weeks, by the most frequent value."""
    found = ask("config_drift", project="team/drift", first="2026-01-16", second="2026-02-16")
    assert rows_of(found) == [
        ("kind", "changed", 6, 6, None, 1.0, '"a"', None, 1.0, 1.0),
        ("lr", "changed", 6, 6, 0.1, 0.01, None, None, *[plain_hours(3000)] * 2),
        ("new key", "added", 0, 6, None, None, None, '"x"', None, 1.0),
        ("old", "removed", 6, 0, 1.0, None, "true", None, 1.0, None),
    ]  # fmt: skip
    found = ask("config_drift", project="team/drift", first="2026-01-11", second="2026-01-17")
    assert rows_of(found, "key", "first_runs", "second_runs", "first_value", "second_value") == [
        ("lr", 1, 6, 0.5, 0.1)
    ]  # fmt: skip
