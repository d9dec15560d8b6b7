"""What the SDK logged is what SQL gives, in every way that a server serves it."""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def leaves(value: Any, prefix: str) -> dict[str, Any]:
    """Returns dotted key to leaf, as the documentation says history, config and summary are cut."""
    is_union = isinstance(value, dict) and all(k.startswith("_type_") for k in value)
    if isinstance(value, dict) and value and "_type" not in value and not is_union:
        out: dict[str, Any] = {}
        for key, inner in value.items():
            out |= leaves(inner, f"{prefix}.{key}" if prefix else key)
        return out
    return {prefix: value}


def settled(value: Any) -> Any:
    """Returns a value in the form in which both sides are compared."""
    if isinstance(value, str) and value in NON_FINITE:
        return str(NON_FINITE[value])
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: settled(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [settled(v) for v in value]
    return value


def held(value: float | None, text: str | None) -> Any:
    """Returns what the columns value and json stand for."""
    return settled(json.loads(text) if text is not None else value)


@pytest.fixture(scope="module")
def synced(
    logged: Path, run_script: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Each way to serve the same history, synced, beside what wandb.Api() says of it."""
    found = {}
    for exports in ("all", "half", "none"):
        data = tmp_path_factory.mktemp("data") / "sandbox"
        shutil.copytree(logged, data)
        root = tmp_path_factory.mktemp("warehouse") / "w"
        with Sandbox(data, options=["--exports", exports]) as sandbox:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WANDB_BASE_URL", sandbox.base_url)
                patch.setenv("WANDB_API_KEY", sandbox.api_key)
                report = wbsync.open(root).sync("sandbox/main")
            assert not report.skipped
            kinds = {f for r in sandbox.requests() for f in r.get("fields") or ()}
            assert ("history" in kinds) == (exports != "all")
            said = run_script("read_runs.py", sandbox, tmp_path_factory.mktemp("read"))
        found[exports] = (root, said)
    return found


@pytest.mark.parametrize("exports", ["all", "half", "none"])
def test_metadata_is_what_the_sdk_reads(synced: Any, exports: str) -> None:
    """Names, tags, config, summary and lineage are equal to wandb.Api()'s."""
    root, said = synced[exports]
    with wbsync.open(root) as warehouse:
        rows = {r["run_id"]: r for r in warehouse.sql("FROM runs").arrow().to_pylist()}
        assert rows.keys() == said.keys() == {"odd", "long", "empty", "late"}
        for run_id, run in said.items():
            row = rows[run_id]
            assert row["display_name"] == run["name"]
            assert row["state"] == run["state"] == "finished"
            assert json.loads(row["tags"]) == run["tags"]
            assert (row["notes"] or None) == (run["notes"] or None)
            assert settled(json.loads(row["config"])) == settled(run["config"])
            assert settled(json.loads(row["summary"])) == settled(run["summary"])
        for table, name in (("run_config", "config"), ("run_summary", "summary")):
            found: dict[str, dict[str, Any]] = defaultdict(dict)
            for r in warehouse.sql(f"FROM {table}").arrow().to_pylist():
                found[r["run_id"]][r["key"]] = held(r["value"], r["json"])
            for run_id, run in said.items():
                wanted = {k: settled(v) for k, v in leaves(run[name], "").items() if k}
                literal = {k: settled(v) for k, v in run[name].items() if not isinstance(v, dict)}
                assert found[run_id] == wanted | literal
        lineage = warehouse.sql(
            "SELECT run_id, direction FROM run_artifacts WHERE type_name = 'dataset'"
        ).fetchall()
        assert sorted(lineage) == [("late", "logged"), ("late", "used")]


@pytest.mark.parametrize("exports", ["all", "half", "none"])
def test_history_is_what_the_sdk_reads(synced: Any, exports: str) -> None:
    """Every value of every step is equal to scan_history's."""
    root, said = synced[exports]
    with wbsync.open(root) as warehouse:
        found: dict[str, dict[tuple[str, int], Any]] = defaultdict(dict)
        for r in warehouse.sql("FROM history").arrow().to_pylist():
            found[r["run_id"]][r["key"], r["step"]] = held(r["value"], r["json"])
    for run_id, run in said.items():
        wanted = {}
        for row in run["history"]:
            dotted = leaves(row, "")
            # Where `a.b` and `a: {b}` are the same key, the literal one counts.
            dotted |= {k: v for k, v in row.items() if not isinstance(v, dict)}
            for key, value in dotted.items():
                if value is not None and key not in {"_step", ""}:
                    wanted[key, row["_step"]] = settled(value)
        if exports != "none":
            # The SDK reads union columns as the structs they are stored as.
            wanted = {
                k: next((v for v in w.values() if v is not None), None)
                if isinstance(w, dict) and w and all(x.startswith("_type_") for x in w)
                else w
                for k, w in wanted.items()
            }
        assert found[run_id].keys() == wanted.keys()
        different = {k: (found[run_id][k], w) for k, w in wanted.items() if found[run_id][k] != w}
        assert not different
    assert len(found["long"]) == 5000 * 3 + 50


def test_content_does_not_depend_on_exports(synced: Any, content_of: Any) -> None:
    """The warehouse is the same whether rows came as Parquet, as JSON, or half and half."""
    contents = {name: content_of(root) for name, (root, _) in synced.items()}
    for table in contents["all"]:
        assert contents["all"][table] == contents["half"][table] == contents["none"][table], table
