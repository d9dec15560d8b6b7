"""Reads on where a run logged or used more artifacts than the first page of them holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.api import run_batch_document
from wbsync.errors import ResponseShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.sync.context import Context

DIRECTIONS = {"outputArtifacts": "o", "inputArtifacts": "i"}
"""Connections of a run, and what their variables are called in `run_lineage`."""

PAGE_ROWS = 1000
BATCH_RUNS = 20


async def complete_lineage(context: Context, nodes: Sequence[dict[str, Any]]) -> None:
    """Adds the further artifacts of runs to their nodes, several runs to a request.

    Args:
        context: The project's sync.
        nodes: Runs as `project_runs` shows them; their connections are changed in place.

    Raises:
        ResponseShapeError: The server lists the same page again and again.
    """
    open_ = [node for node in nodes if any(_cursor(node, field) for field in DIRECTIONS)]
    while open_:
        batch, rest = open_[:BATCH_RUNS], open_[BATCH_RUNS:]
        project = context.project
        variables: dict[str, Any] = {
            "entity": project.entity,
            "project": project.project,
            "perPage": PAGE_ROWS,
        }
        for index, node in enumerate(batch):
            variables[f"n{index}"] = node["name"]
            for field, letter in DIRECTIONS.items():
                variables[f"{letter}{index}"] = _cursor(node, field)
        data = await context.client.execute(run_batch_document("lineage", len(batch)), variables)
        answers = data.get("project") or {}
        for index, node in enumerate(batch):
            answer = answers.get(f"r{index}") or {}  # a run that is gone has no more
            for field in DIRECTIONS:
                if cursor := _cursor(node, field):
                    _extend(node, field, answer.get(field) or {}, cursor)
        open_ = [n for n in batch if any(_cursor(n, field) for field in DIRECTIONS)] + rest


def _cursor(node: dict[str, Any], field: str) -> str | None:
    """Returns where a connection goes on; None where all of it is here."""
    page = (node.get(field) or {}).get("pageInfo") or {}
    return page.get("endCursor") if page.get("hasNextPage") else None


def _extend(node: dict[str, Any], field: str, page: dict[str, Any], cursor: str) -> None:
    node[field]["edges"] = [*node[field]["edges"], *(page.get("edges") or [])]
    node[field]["pageInfo"] = page.get("pageInfo") or {}
    if _cursor(node, field) == cursor:
        raise ResponseShapeError(
            f"{node['name']}: the server lists the same artifacts again and again",
            operation="RunLineage",
        )
