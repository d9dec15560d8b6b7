"""Runs, their config, summary, tags and lineage, from pages of the runs connection.

Source: queries/wandb/project_runs.graphql; wandb/apis/public/runs.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from wbsync.errors import ExtractError
from wbsync.extract.rows import build_table, nodes_of
from wbsync.extract.values import (
    as_float,
    as_int,
    canonical_json,
    flatten,
    parse_json,
    parse_time,
    unwrap_config,
)
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from wbsync.model import ProjectPath


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows of a page of runs, table by table, in the tables' schemas."""

    runs: pa.Table
    run_config: pa.Table
    run_summary: pa.Table
    run_tags: pa.Table
    run_artifacts: pa.Table


class _Leaves:
    """Columns of a leaf table, gathered run by run."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.counts: list[int] = []
        """Leaves of each run."""
        self.keys: list[str] = []
        self.values: list[float | None] = []
        self.json: list[str | None] = []

    def add(self, run_id: str, mapping: dict[str, Any]) -> None:
        leaves = flatten(mapping)
        if leaves:
            self.runs.append(run_id)
            self.counts.append(len(leaves))
            self.keys += leaves
            values, json = zip(*leaves.values(), strict=True)
            self.values += values
            self.json += json

    def table(self, name: str, project: ProjectPath, synced_at: datetime) -> pa.Table:
        count = len(self.keys)
        owners = np.repeat(np.arange(len(self.runs)), self.counts)
        schema = load_table(name).arrow()
        return pa.Table.from_arrays(
            [
                pa.repeat(pa.scalar(project.entity, pa.string()), count),
                pa.repeat(pa.scalar(project.project, pa.string()), count),
                pa.array(self.runs, pa.string()).take(pa.array(owners)),
                pa.array(self.keys, pa.string()),
                pa.array(self.values, pa.float64()),
                pa.array(self.json, pa.string()),
                pa.repeat(pa.scalar(synced_at, schema.field("synced_at").type), count),
            ],
            schema=schema,
        )


def build_run_rows(
    nodes: Sequence[dict[str, Any]],
    project: ProjectPath,
    synced_at: datetime,
    untold: Collection[str] = (),
) -> RunRows:
    """Returns the rows of runs.

    Any field may be missing or null. Nothing is dropped: config and summary stand whole in `runs`
    as JSON, and leaf by leaf in their own tables.

    Args:
        nodes: Nodes of the runs connection, each run once.
        project: Where they are.
        synced_at: When they were read.
        untold: Runs of which the server did not tell all: their rows have no content hash, which
            is how a sync knows that it must read them again.

    Raises:
        ExtractError: A run's config or summary is not JSON.
    """
    runs: list[dict[str, Any]] = []
    tags: list[dict[str, Any]] = []
    lineage: list[dict[str, Any]] = []
    config_leaves, summary_leaves = _Leaves(), _Leaves()
    for node in nodes:
        run_id = node["name"]
        try:
            raw = parse_json(node.get("config")) or {}
            summary = parse_json(node.get("summaryMetrics")) or {}
            system = parse_json(node.get("systemMetrics")) or {}
        except ValueError as error:
            raise ExtractError(f"{project}/{run_id}: config or summary is not JSON") from error
        config = unwrap_config(raw)
        config_leaves.add(run_id, config)
        summary_leaves.add(run_id, summary)
        key = {
            "entity": project.entity,
            "project": project.project,
            "run_id": run_id,
            "synced_at": synced_at,
        }
        tags += [{**key, "tag": tag} for tag in dict.fromkeys(node.get("tags") or [])]
        lineage += _lineage(node, key)
        content = None if run_id in untold else content_hash(node)
        row = _run(node, raw, config, summary, system)
        runs.append({**key, **row, "content_hash": content})
    return RunRows(
        runs=build_table("runs", runs),
        run_config=config_leaves.table("run_config", project, synced_at),
        run_summary=summary_leaves.table("run_summary", project, synced_at),
        run_tags=build_table("run_tags", tags),
        run_artifacts=build_table("run_artifacts", lineage),
    )


def _run(
    node: dict[str, Any],
    raw: dict[str, Any],
    config: dict[str, Any],
    summary: dict[str, Any],
    system: dict[str, Any],
) -> dict[str, Any]:
    internal = _internal(raw)
    environment = _environment(internal)
    history_keys = node.get("historyKeys") or {}
    git = environment.get("git") or {}
    user = node.get("user") or {}
    return {
        "storage_id": node.get("id"),
        "display_name": node.get("displayName"),
        "state": node.get("state"),
        "notes": node.get("notes"),
        "tags": tags_json(node.get("tags")),
        "group_name": node.get("group"),
        "job_type": node.get("jobType"),
        "username": user.get("username"),
        "user_name": user.get("name"),
        "sweep_id": node.get("sweepName"),
        "created_at": parse_time(node.get("createdAt")),
        "heartbeat_at": parse_time(node.get("heartbeatAt")),
        "updated_at": parse_time(node.get("updatedAt")),
        "compute_seconds": as_float(node.get("computeSeconds")),
        "git_commit": node.get("commit") or _text(git.get("commit")),
        "git_remote": _text(git.get("remote")),
        "host": node.get("host") or _text(environment.get("host")),
        "program": _text(environment.get("program")),
        "python_version": _text(environment.get("python") or internal.get("python_version")),
        "sdk_version": _text(internal.get("cli_version")),
        "os": _text(environment.get("os")),
        "gpu": _text(environment.get("gpu")),
        "gpu_count": as_int(environment.get("gpu_count")),
        "config": canonical_json(config),
        "config_raw": node.get("config"),
        "summary": canonical_json(summary),
        "system_summary": canonical_json(system),
        "history_line_count": as_int(node.get("historyLineCount")),
        "last_step": as_int(history_keys.get("lastStep")) if history_keys else None,
        "event_line_count": as_int(node.get("eventsLineCount")),
        "log_line_count": as_int(node.get("logLineCount")),
        "branch_point": canonical_json(internal["branch_point"])
        if internal.get("branch_point")
        else None,
    }


def _internal(raw: dict[str, Any]) -> dict[str, Any]:
    """Returns W&B's own part of a config, empty for none."""
    internal = raw.get("_wandb") or {}
    internal = internal.get("value", internal) if isinstance(internal, dict) else {}
    return internal if isinstance(internal, dict) else {}


def _environment(internal: dict[str, Any]) -> dict[str, Any]:
    """Returns the environment record of the first writer, empty for none."""
    records = internal.get("e")
    if not isinstance(records, dict):
        return {}
    found = [r for r in records.values() if isinstance(r, dict)]
    return min(found, key=lambda r: str(r.get("startedAt", ""))) if found else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _lineage(node: dict[str, Any], key: dict[str, Any]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for direction, field in (("logged", "outputArtifacts"), ("used", "inputArtifacts")):
        for artifact in nodes_of(node.get(field)):
            collection = (artifact.get("artifactSequence") or {}).get("name")
            index = as_int(artifact.get("versionIndex"))
            rows[artifact["id"], direction] = {
                **key,
                "artifact_id": artifact["id"],
                "direction": direction,
                "type_name": (artifact.get("artifactType") or {}).get("name"),
                "artifact_name": None if None in {collection, index} else f"{collection}:v{index}",
            }
    return list(rows.values())


def tags_json(tags: list[str] | None) -> str:
    """Returns tags as the runs table writes them: a JSON array, empty for none."""
    return canonical_json(list(dict.fromkeys(tags or [])))


def content_hash(node: dict[str, Any]) -> str:
    """Returns a hash of all that the server said of a run, and that its rows keep.

    Of what it says of each key of the history they keep the last step alone.
    """
    kept = {**node, "historyKeys": (node.get("historyKeys") or {}).get("lastStep")}
    text = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
