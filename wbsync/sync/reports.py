"""Keeps reports, their drafts and workspaces in step with W&B.

The request that opens a project's sync lists them with what identifies their state; those that
differ from what is held are fetched whole, many a request. A list that was not seen to its end, or
that the key may not see, is no reason to take anything for deleted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api import batch_document, iter_pages, load_document
from wbsync.errors import GraphQLError
from wbsync.extract.reports import build_report_rows
from wbsync.extract.rows import nodes_of
from wbsync.extract.values import parse_time
from wbsync.sync.context import project_filter
from wbsync.sync.inventory import project_variables, read_held, write_changes
from wbsync.sync.untold import Untold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wbsync.lake.delta import Filter
    from wbsync.sync.context import Context
    from wbsync.sync.untold import Source

VIEW_TYPES = {"reports": "runs", "drafts": "runs/draft", "workspaces": "project-view"}
"""Where the opening request lists views, and of which type these are."""

PARTS = tuple(("project", name) for name in VIEW_TYPES)
"""Parts of the opening request that a key may be refused."""

LISTED: dict[str, Source] = {
    "name": "name",
    "updatedAt": "updated_at",
}
FIELDS: dict[str, Source] = {
    **LISTED,
    "type": "view_type",
    "spec": "spec",
    "createdAt": "created_at",
}
"""Fields whose null says nothing where something is held: of a listed view, and of a whole one."""

PAGE_ROWS = 1000
BATCH_VIEWS = 25
KEY = ["entity", "project", "report_id"]
INDEX = ("report_id", "view_type", "name", "display_name", "description", "updated_at")


@dataclass(slots=True)
class _Listing:
    """What W&B lists."""

    views: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """Id to view type and view."""
    complete: set[str] = field(default_factory=set)
    """View types of which all are listed."""


async def sync_reports(
    context: Context, project: Mapping[str, Any], refused: Mapping[str, str]
) -> None:
    """Brings a project's reports up to date.

    Args:
        context: The project's sync.
        project: The project as the opening request gives it.
        refused: Parts of that request that the server refused, with its words.
    """
    if "Query.view" in context.client.capabilities.missing_fields:
        return
    listing = await _list(context, project, refused)
    held = await asyncio.to_thread(_read_index, context)
    untold = Untold(context, "reports")
    for report_id, (_, node) in listing.views.items():
        untold.fill(node, held.get(report_id), LISTED, report_id)
    changed = _changed(listing.views.values(), held)
    for start in range(0, len(changed), BATCH_VIEWS):
        await _fetch(context, changed[start : start + BATCH_VIEWS], untold)
    untold.say()
    gone = [
        report_id
        for report_id, row in held.items()
        if report_id not in listing.views
        and row["view_type"] in listing.complete
        and row["deleted_at"] is None
    ]
    if gone:
        none = build_report_rows([], context.project, context.synced_at)
        await write_changes(context, "reports", none, key=KEY, where=_among(context, gone))


def _changed(
    views: Iterable[tuple[str, dict[str, Any]]], held: Mapping[str, dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Returns the views that differ from what is held."""
    return [
        (view_type, node)
        for view_type, node in views
        if _differs(held.get(node["id"]), view_type, node)
    ]


async def count_requests(context: Context, project: Mapping[str, Any]) -> int:
    """Returns how many requests bringing a project's reports up to date would take."""
    if "Query.view" in context.client.capabilities.missing_fields:
        return 0
    views = [
        (node.get("type") or view_type, node)
        for name, view_type in VIEW_TYPES.items()
        for node in nodes_of(project.get(name))
    ]
    changed = _changed(views, await asyncio.to_thread(_read_index, context))
    return -(-len(changed) // BATCH_VIEWS)


async def _list(
    context: Context, project: Mapping[str, Any], refused: Mapping[str, str]
) -> _Listing:
    listing = _Listing()
    for name, view_type in VIEW_TYPES.items():
        connection = project.get(name)
        if name in refused:
            context.skip(f"{context.project} {name}", f"{refused[name]} (--skip reports)")
        if connection is None:
            continue
        connections = [connection]
        if (connection.get("pageInfo") or {}).get("hasNextPage"):
            connections = await _all_pages(context, view_type)
        nodes = [node for page in connections for node in nodes_of(page)]
        for node in nodes:
            listing.views.setdefault(node["id"], (node.get("type") or view_type, node))
        # What the server hides is listed without a node.
        if name not in refused and len(nodes) == sum(
            len(p.get("edges") or []) for p in connections
        ):
            listing.complete.add(view_type)
    return listing


async def _all_pages(context: Context, view_type: str) -> list[dict[str, Any]]:
    """Returns the pages of all views of a type."""
    pages: list[dict[str, Any]] = []

    def connection(data: dict[str, Any]) -> Any:
        pages.append((data.get("project") or {}).get("allViews") or {})
        return pages[-1]

    async for _ in iter_pages(
        context.client,
        load_document("project_views"),
        {**project_variables(context), "viewType": view_type},
        connection=connection,
        page_rows=PAGE_ROWS,
    ):
        pass
    return pages


def _read_index(context: Context) -> dict[str, dict[str, Any]]:
    """Returns report id to the columns of a held report that a listing tells."""
    table = context.lake.read(
        "reports", columns=[*INDEX, "deleted_at"], filters=project_filter(context)
    )
    return {row["report_id"]: row for row in table.to_pylist()}


def _differs(held: dict[str, Any] | None, view_type: str, node: dict[str, Any]) -> bool:
    """Says whether a listed view differs from what is held; one without `updatedAt` always may."""
    if held is None or held["deleted_at"] is not None or held["view_type"] != view_type:
        return True
    updated_at = parse_time(node.get("updatedAt"))
    if updated_at is None or updated_at != held["updated_at"]:
        return True
    names = (("name", "name"), ("displayName", "display_name"), ("description", "description"))
    return any(field in node and node[field] != held[column] for field, column in names)


async def _fetch(context: Context, views: list[tuple[str, dict[str, Any]]], untold: Untold) -> None:
    """Fetches views whole and commits them; one that is gone meanwhile is left to the next sync."""
    try:
        data, refused = await context.client.execute_parts(
            batch_document("views", len(views)),
            {f"id{index}": node["id"] for index, (_, node) in enumerate(views)},
            [(f"r{index}",) for index in range(len(views))],
        )
    except GraphQLError as error:
        if "Query.view" not in context.client.capabilities.missing_fields:
            context.skip(f"{context.project} reports", str(error))
        return
    for (part,), words in refused.items():
        context.skip(f"{context.project} report {views[int(part[1:])][1]['id']}", words)
    whole = [
        (view_type, node)
        for index, (view_type, _) in enumerate(views)
        if (node := data.get(f"r{index}")) is not None
    ]
    ids = [node["id"] for _, node in whole]
    held = await read_held(context, "reports", _among(context, ids))
    by_id = {row["report_id"]: row for row in held.to_pylist()}
    for _, node in whole:
        row = by_id.get(node["id"])
        if untold.fill(node, row, FIELDS, node["id"]) and row and row["updated_at"]:
            node["updatedAt"] = row["updated_at"].isoformat()  # so it is read again
    rows = await asyncio.to_thread(build_report_rows, whole, context.project, context.synced_at)
    await write_changes(context, "reports", rows, key=KEY, gone=False, where=_among(context, ids))


def _among(context: Context, report_ids: list[str]) -> list[Filter]:
    """Returns the lake filter for some of a project's reports."""
    return [*project_filter(context), ("report_id", "in", report_ids)]
