"""Follows projects that were renamed or deleted.

A project keeps its internal id when it is renamed: its rows move to the new name, and nothing of
its history is fetched again. What was held under that name moves on or, where W&B no longer has it,
aside: its internal id is added to its name. A project that the key cannot see is not taken to be
deleted, unless the list of its entity's projects, read whole, lacks it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.errors import NotFoundError
from wbsync.model import ProjectPath
from wbsync.sync.changes import log_deletions
from wbsync.sync.cursors import Cursors
from wbsync.tables import load_table, table_names

if TYPE_CHECKING:
    from wbsync.api import Client
    from wbsync.lake.delta import Filter
    from wbsync.sync.context import EntityContext

WITH_CURSORS = frozenset(
    {"history", "history_keys", "system_metrics", "run_files", "console_logs", "artifact_files"}
)
"""Tables whose commits say, by project, up to where they are held: that moves with their rows."""


async def list_projects(client: Client, entity: str) -> tuple[dict[str, str | None], bool]:
    """Returns the projects of an entity, name to internal id, and whether these are surely all.

    Raises:
        NotFoundError: The entity does not exist, or the key may not see it.
    """

    def connection(data: dict[str, Any]) -> Any:
        if data.get("models") is None:
            raise NotFoundError(
                f"{entity}: no such entity on {client.base_url}, or this key may not see it",
                operation="Projects",
            )
        return data["models"]

    found: dict[str, str | None] = {}
    is_whole = True
    document = load_document("projects")
    async for page in iter_pages(
        client, document, {"entity": entity}, connection=connection, page_rows=200
    ):
        for node in page.nodes:
            internal_id = node.get("internalId")
            found[node["name"]] = None if internal_id is None else str(internal_id)
        is_whole = not page.has_gaps
    return found, is_whole


async def follow_projects(
    context: EntityContext, listed: dict[str, str | None], *, is_whole: bool
) -> dict[str, str]:
    """Moves the rows of renamed projects to their new names, and marks those of deleted ones.

    Args:
        context: The sync of the entity, or of one of its projects.
        listed: Projects of the entity, name to internal id.
        is_whole: Whether these are all that there are.

    Returns:
        Old name to new name.
    """
    held = await _held_projects(context)
    moves = _moves(held, listed)
    if not is_whole and not held.keys().isdisjoint({*moves.values()} - moves.keys()):
        # What had the name until now may have another one, too.
        with suppress(NotFoundError):
            listed, is_whole = await list_projects(context.client, context.entity)
            moves = _moves(held, listed)
    pending = dict(moves)
    while pending:
        # A name is free once the project that had it has moved on.
        old = next((o for o, new in pending.items() if new not in pending), next(iter(pending)))
        new = pending.pop(old)
        if (other := (await _held_projects(context)).get(new)) is not None:
            # Names went in a circle, or the project is no more: its rows are all that there is.
            aside = f"{new} ({other['internal_id']})"
            await _move(context, new, aside)
            if new in pending:
                pending[aside] = pending.pop(new)
        await _move(context, old, new)
    if is_whole:
        held = await _held_projects(context)
        alive = {name for name, row in held.items() if row["deleted_at"] is None}
        for name in sorted(alive - listed.keys()):
            if not await _exists(context, name):
                await _mark_deleted(context, name)
    return moves


def _moves(held: dict[str, dict[str, Any]], listed: dict[str, str | None]) -> dict[str, str]:
    """Returns old name to new name of the held projects that W&B lists under another one."""
    names = {internal_id: name for name, internal_id in listed.items() if internal_id}
    taken = {
        row["internal_id"] for name, row in held.items() if names.get(row["internal_id"]) == name
    }
    moves: dict[str, str] = {}
    for old, row in sorted(held.items(), key=lambda item: item[1]["deleted_at"] is not None):
        if row["internal_id"] in names.keys() - taken:
            taken.add(row["internal_id"])
            moves[old] = names[row["internal_id"]]
    return moves


async def _held_projects(context: EntityContext) -> dict[str, dict[str, Any]]:
    rows = await asyncio.to_thread(
        lambda: context.lake.read(
            "projects",
            columns=["project", "internal_id", "deleted_at"],
            filters=[("entity", "=", context.entity)],
        )
    )
    return {row["project"]: row for row in rows.to_pylist()}


async def _exists(context: EntityContext, project: str) -> bool:
    data = await context.client.execute(
        load_document("project_identity"), {"entity": context.entity, "project": project}
    )
    return data.get("project") is not None


async def _mark_deleted(context: EntityContext, project: str) -> None:
    """Marks what a deleted project held; its runs are in the change log, one by one."""
    await log_deletions(context, _of(context, project))
    context.state.forget_project(context.entity, project)
    for name in _tables("deleted_at"):
        where = [*_of(context, project), ("deleted_at", "is", None)]
        await context.amend(name, where, {"deleted_at": context.synced_at})


async def _move(context: EntityContext, old: str, new: str) -> None:
    """Gives the rows of a project its new name; its own row comes last, so that a kill is mended.

    What is remembered beside the lake goes along.
    """
    context.state.move_project(context.entity, old, new)
    for name in _tables("project"):
        metadata = await asyncio.to_thread(_cursors, context, name, old, new)
        moved = await context.amend(name, _of(context, old), {"project": new}, metadata=metadata)
        if metadata and not moved:  # what was read had no rows
            await context.write(name, load_table(name).arrow().empty_table(), metadata=metadata)


def _tables(column: str) -> list[str]:
    """Returns the tables of the lake with rows of projects that have a column, projects last."""
    found = [
        name
        for name in table_names()
        if {"entity", "project", column} <= {c.name for c in load_table(name).columns}
        and name != "sync_log"
    ]
    return sorted(found, key=lambda name: name == "projects")


def _of(context: EntityContext, project: str) -> list[Filter]:
    return [("entity", "=", context.entity), ("project", "=", project)]


def _cursors(context: EntityContext, table: str, old: str, new: str) -> dict[str, str] | None:
    """Returns the commit metadata that moves a project's cursors, None where it has none."""
    if table not in WITH_CURSORS:
        return None
    cursors = Cursors(context.lake, context.state, table)
    cursors.catch_up()
    return cursors.moved(ProjectPath(context.entity, old), new)
