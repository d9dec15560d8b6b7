"""Projects. Source: queries/wandb/project_state.graphql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import as_int, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa


def build_project_rows(
    nodes: Sequence[dict[str, Any]], entity: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table projects; `bookmark` is for the engine to fill."""
    return build_table(
        "projects",
        [
            {
                "entity": entity,
                "project": node["name"],
                "project_id": node.get("id"),
                "internal_id": None if node.get("internalId") is None else str(node["internalId"]),
                "description": node.get("description"),
                "access": node.get("access"),
                "is_read_only": node.get("readOnly"),
                "created_at": parse_time(node.get("createdAt")),
                "updated_at": parse_time(node.get("updatedAt")),
                "run_count": as_int(node.get("runCount")),
                "sweep_count": as_int(node.get("totalSweeps")),
                "synced_at": synced_at,
            }
            for node in nodes
        ],
    )
