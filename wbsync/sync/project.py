"""Syncs one project: opening request, runs, history, system metrics, sweeps, artifacts.

The projects row comes last and carries the bookmark: it says that everything before it was
committed. A sync that was killed leaves the old bookmark, or none, and the next one looks again
at all that the old one does not vouch for; what is held already is recognised and not written.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from wbsync.api import load_document
from wbsync.errors import NotFoundError
from wbsync.extract.projects import build_project_rows
from wbsync.extract.rows import nodes_of
from wbsync.progress import RunsPlanned
from wbsync.sync.events import EventSync
from wbsync.sync.history import HistorySync
from wbsync.sync.inventory import (
    project_variables,
    read_held,
    sync_artifacts,
    sync_sweeps,
    write_changes,
)
from wbsync.sync.runs import RunSync, read_index

if TYPE_CHECKING:
    from wbsync.sync.context import Context


async def sync_project(context: Context) -> None:
    """Brings everything of a project up to date.

    Raises:
        NotFoundError: The project does not exist or may not be seen; nothing held is touched.
    """
    data = await context.client.execute(load_document("project_state"), project_variables(context))
    project = data.get("project")
    if project is None:
        raise NotFoundError(
            f"{context.project}: no such project on {context.client.base_url}, or this key may not"
            " see it; check the spelling and the key's access",
            operation="ProjectState",
        )
    held = (await read_held(context, "projects")).to_pylist()
    bookmark = json.loads(held[0]["bookmark"]) if held and held[0]["bookmark"] else None
    next_bookmark = await RunSync(context, bookmark).run(project.get("runCount"))
    runs = await asyncio.to_thread(read_index, context)
    history = HistorySync(context, runs)
    jobs = await asyncio.to_thread(history.plan)
    context.progress(
        RunsPlanned(project=str(context.project), runs_total=len(runs), runs_to_fetch=len(jobs))
    )
    await history.run(jobs)
    events = EventSync(context, runs)
    await events.run(await asyncio.to_thread(events.plan))
    await sync_sweeps(
        context,
        nodes_of(project.get("sweeps")),
        runs_changed=bool(context.tally.runs_changed),
    )
    if "artifactTypes" in project:
        await sync_artifacts(context, nodes_of(project["artifactTypes"]))
    await _write_project(context, project, next_bookmark)


async def _write_project(
    context: Context, project: dict[str, Any], bookmark: dict[str, Any]
) -> None:
    import pyarrow as pa

    rows = build_project_rows([project], context.project.entity, context.synced_at)
    text = pa.array([json.dumps(bookmark, sort_keys=True)], pa.string())
    place = rows.schema.get_field_index("bookmark")
    rows = rows.set_column(place, rows.schema.field(place), text)
    name = pa.array([context.project.project], pa.string())
    place = rows.schema.get_field_index("project")
    rows = rows.set_column(place, rows.schema.field(place), name)
    await write_changes(context, "projects", rows, key=["entity", "project"], gone=False)
