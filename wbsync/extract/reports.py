"""Reports, their drafts and workspaces: W&B calls all of them views.

Source: queries/wandb/views.graphql; wandb/apis/public/reports.py; wandb_workspaces/utils/slugs.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import json_text, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from wbsync.model import ProjectPath

WORKSPACE = "project-view"
"""View type of saved workspaces, which have no page of their own."""


def build_report_rows(
    nodes: Sequence[tuple[str, dict[str, Any]]], project: ProjectPath, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table reports.

    Args:
        nodes: View type under which each was listed, and the view.
        project: Where they are.
        synced_at: When they were read.
    """
    return build_table("reports", [_row(t, node, project, synced_at) for t, node in nodes])


def _row(
    listed_type: str, node: dict[str, Any], project: ProjectPath, synced_at: datetime
) -> dict[str, Any]:
    view_type = node.get("type") or listed_type
    title = node.get("displayName")
    return {
        "entity": project.entity,
        "project": project.project,
        "report_id": node["id"],
        "view_type": view_type,
        "name": node.get("name"),
        "display_name": title,
        "description": node.get("description"),
        "username": (node.get("user") or {}).get("username"),
        "url_slug": None if view_type == WORKSPACE else slug(title or "", node["id"]),
        "spec": json_text(node.get("spec")),
        "created_at": parse_time(node.get("createdAt")),
        "updated_at": parse_time(node.get("updatedAt")),
        "synced_at": synced_at,
    }


def slug(title: str, report_id: str) -> str:
    """Returns the last part of a report's URL; W&B finds the report by what follows the dashes.

    >>> slug("Über alles: 50 % / run", "Vmlldzox==")
    'ber-alles-50-run--Vmlldzox'
    """
    words = re.sub(r"[^A-Za-z0-9_]+", "-", title).strip("-")
    return f"{words}--{report_id.rstrip('=')}"
