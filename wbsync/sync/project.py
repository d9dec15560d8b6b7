"""Syncs one project: an opening request, then stream after stream.

The projects row comes last and carries the bookmark: it says that everything before it was
committed. A sync that was killed leaves the old bookmark, or none, and the next one looks again
at all that the old one does not vouch for; what is held already is recognised and not written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wbsync.api import load_document
from wbsync.errors import NotFoundError
from wbsync.extract.projects import build_project_rows
from wbsync.sync.inventory import project_variables, read_held, write_changes
from wbsync.sync.reports import PARTS as REPORT_PARTS
from wbsync.sync.streams import PROJECT_STREAMS, Opening

if TYPE_CHECKING:
    from wbsync.sync.context import Context


async def sync_project(context: Context) -> None:
    """Brings everything of a project up to date that the options ask for.

    Raises:
        NotFoundError: The project does not exist or may not be seen; nothing held is touched.
    """
    data, refused = await context.client.execute_parts(
        load_document("project_state"), project_variables(context), REPORT_PARTS
    )
    project = data.get("project")
    if project is None:
        raise NotFoundError(
            f"{context.project}: no such project on {context.client.base_url}, or this key may not"
            " see it; check the spelling and the key's access",
            operation="ProjectState",
        )
    held = (await read_held(context, "projects")).to_pylist()
    bookmark = json.loads(held[0]["bookmark"]) if held and held[0]["bookmark"] else None
    opening = Opening(project, bookmark, {part[-1]: words for part, words in refused.items()})
    for stream in PROJECT_STREAMS:
        if context.options.wants(stream.tables, on_request=stream.on_request):
            await stream.run(context, opening)
    await _write_project(context, opening)


async def _write_project(context: Context, opening: Opening) -> None:
    import pyarrow as pa

    rows = build_project_rows([opening.project], context.project.entity, context.synced_at)
    bookmark = opening.bookmark
    text = None if bookmark is None else json.dumps(bookmark, sort_keys=True)
    for column, value in (("bookmark", text), ("project", context.project.project)):
        place = rows.schema.get_field_index(column)
        rows = rows.set_column(place, rows.schema.field(place), pa.array([value], pa.string()))
    await write_changes(context, "projects", rows, key=["entity", "project"], gone=False)
