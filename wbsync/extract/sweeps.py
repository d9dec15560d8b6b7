"""Sweeps. Source: queries/wandb/project_sweeps.graphql; wandb/apis/public/sweeps.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import as_float, as_int, canonical_json, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from wbsync.model import ProjectPath


def build_sweep_rows(
    nodes: Sequence[dict[str, Any]], project: ProjectPath, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table sweeps; a config that is no YAML stays as W&B holds it."""
    return build_table("sweeps", [_row(node, project, synced_at) for node in nodes])


def _row(node: dict[str, Any], project: ProjectPath, synced_at: datetime) -> dict[str, Any]:
    config = _parse(node.get("config"))
    metric = config.get("metric")
    metric = metric if isinstance(metric, dict) else {}
    return {
        "entity": project.entity,
        "project": project.project,
        "sweep_id": node["name"],
        "storage_id": node.get("id"),
        "display_name": node.get("displayName"),
        "description": node.get("description"),
        "state": node.get("state"),
        "method": _text(config.get("method")),
        "metric": _text(metric.get("name")),
        "goal": _text(metric.get("goal")) or ("minimize" if metric.get("name") else None),
        "config": canonical_json(config) if config else None,
        "config_yaml": node.get("config"),
        "best_loss": as_float(node.get("bestLoss")),
        "run_count": as_int(node.get("runCount")),
        "run_count_expected": as_int(node.get("runCountExpected")),
        "created_at": parse_time(node.get("createdAt")),
        "updated_at": parse_time(node.get("updatedAt")),
        "synced_at": synced_at,
    }


def _parse(text: str | None) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.load(text or "", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError:
        return {}
    return _plain(config) if isinstance(config, dict) else {}


def _plain(value: Any) -> Any:
    """Returns YAML's value with what JSON lacks (dates, other keys) as text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
