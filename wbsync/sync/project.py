"""Syncs one project: an opening request, then stream after stream.

The projects row comes last and carries the bookmark: it says that everything before it was
committed. A sync that was killed leaves the old bookmark, or none, and the next one looks again
at all that the old one does not vouch for; what is held already is recognised and not written.
A sync that the budget or Ctrl-C stops writes the row, too, for the bookmark speaks of runs alone,
and the other streams find out by themselves what they lack. Where it is the budget, it notes which
streams were left: the next limited sync begins with those, so that a small budget is not spent on
looking at the same runs again and again. And it notes which streams of the project as a whole were
ever read to their end, so that a reader can tell a project without sweeps from one whose sweeps
were left out.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wbsync.api import load_document
from wbsync.api.pagination import is_too_large
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    BudgetSpentError,
    GraphQLError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
    first_error,
)
from wbsync.extract.projects import build_project_rows
from wbsync.model import ProjectPath
from wbsync.progress import ProjectStarted, Skipped
from wbsync.sync.artifacts import LISTED_VERSIONS
from wbsync.sync.history import HistorySync
from wbsync.sync.inventory import project_variables, read_held, write_changes
from wbsync.sync.moves import follow_projects, list_projects
from wbsync.sync.plan import next_try_at
from wbsync.sync.reports import PARTS as REPORT_PARTS
from wbsync.sync.runs import RunSync, read_index
from wbsync.sync.streams import PROJECT_STREAMS, RUNS, Opening, ProjectStream
from wbsync.sync.untold import Untold
from wbsync.sync.vouching import vouch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wbsync.model import SyncOptions
    from wbsync.sync.context import Context


async def sync_project(context: Context) -> None:
    """Brings everything of a project up to date that the options ask for.

    Raises:
        BudgetSpentError: It is not done; `context.tally.left` says what is left.
        NotFoundError: The project does not exist or may not be seen; nothing held is touched.
    """
    opening = await _open_and_follow(context)
    if opening is None:
        return
    is_whole = opening.bookmark is None and context.options.selection.is_everything
    runs = opening.project.get("runCount") if is_whole else None
    context.progress(ProjectStarted(project=str(context.project), runs=runs))
    streams = streams_of(context.options)
    if not context.options.selection.is_everything and RUNS not in streams:
        walk = RunSync(context, None, opening.began)
        context.selected = context.tally.selected = await walk.select()
    is_all = context.options.selection.is_everything
    first = [s for s in streams if s.tables[0] in opening.pending]
    is_short = is_all and context.client.budget.is_limited
    failed: list[ProjectStream] = []
    for turns in (first if is_short else [], streams):
        for number, stream in enumerate(turns):
            if stream in failed:
                continue
            try:
                if not await _run_stream(context, opening, stream):
                    failed.append(stream)
            except BudgetSpentError:
                left = turns[number:]
                if is_all:
                    opening.pending = [] if RUNS in left else [s.tables[0] for s in left]
                text = await asyncio.to_thread(_describe, left, context, opening)
                context.tally.left = Skipped(what=str(context.project), reason=text)
                if is_all and turns is streams:
                    vouch(context, tables_of(s for s in turns[:number] if s not in failed))
                await _write_project(context, opening)
                raise
            except asyncio.CancelledError:
                await _write_project(context, opening)
                raise
    if is_all:
        opening.pending = []
        vouch(context, tables_of(s for s in streams if s not in failed))
    await _write_project(context, opening)


async def open_project(context: Context) -> Opening:
    """Returns what the opening request says, and the bookmark that is held; writes nothing.

    Raises:
        NotFoundError: The project does not exist or may not be seen.
    """
    project, refused = await _open(context)
    if project is None:
        raise _missing(context)
    return await _opening(context, project, refused)


async def _open_and_follow(context: Context) -> Opening | None:
    """Opens a project under the name that it has now; None for one that was deleted.

    Raises:
        NotFoundError: It was never held, or nothing says that it is not merely out of sight.
    """
    project, refused = await _open(context)
    if project is None:
        project, refused = await _find(context)
    if project is None:
        return None
    await follow_projects(context, {context.project.project: _internal_id(project)}, is_whole=False)
    return await _opening(context, project, refused)


async def _opening(
    context: Context, project: dict[str, Any], refused: dict[tuple[str, ...], str]
) -> Opening:
    held = (await read_held(context, "projects")).to_pylist()
    bookmark: dict[str, Any] = {}
    if held and _is_same(held[0], project):
        bookmark = json.loads(held[0]["bookmark"]) if held[0]["bookmark"] else {}
    pending = [str(name) for name in bookmark.pop("pending", [])]
    whole = {str(name) for name in bookmark.pop("held", [])}
    parts = {part[-1]: words for part, words in refused.items()}
    began = context.client.server_time or context.synced_at
    return Opening(project, bookmark or None, began, parts, pending, whole)


def streams_of(options: SyncOptions) -> list[ProjectStream]:
    """Returns the streams that a sync with these options runs."""
    return [
        stream
        for stream in PROJECT_STREAMS
        if options.wants(stream.tables, on_request=stream.on_request)
        and (stream.per_run or not options.selection.runs)
    ]


def tables_of(streams: Iterable[ProjectStream]) -> list[str]:
    """Returns the tables that streams fill with rows of runs."""
    return [table for stream in streams if stream.per_run for table in stream.tables]


def enter(context: Context, stream: ProjectStream) -> None:
    """Sets the stage for a stream: which runs it has set aside, and which of them are to rest."""
    context.stream, context.failed = stream.tables[0], set()
    place = (context.project.entity, context.project.project, context.stream)
    aside = [
        run
        for run in context.state.runs_set_aside()
        if (run.entity, run.project, run.stream) == place
    ]
    context.aside = frozenset(run.run_id for run in aside)
    context.resting = frozenset(
        run.run_id
        for run in aside
        if not (context.options.retry or run.run_id in context.options.selection.runs)
        and next_try_at(str(run), run.attempts, run.last_tried_at) > datetime.now(UTC)
    )


async def _run_stream(context: Context, opening: Opening, stream: ProjectStream) -> bool:
    """Runs a stream; the runs that it had set aside and has read, or that are gone, come back.

    Returns:
        Whether it came to its end. What the server refuses it is skipped, for the next sync.

    Raises:
        BudgetSpentError: The budget ends it.
        AuthenticationError, RateLimitedError, ServerError, TransportError: The other streams would
            fare no better.
    """
    enter(context, stream)
    skipped = len(context.tally.skipped)
    try:
        await stream.run(context, opening)
    except BaseExceptionGroup as group:
        if group.split(BudgetSpentError)[1] is None:
            raise BudgetSpentError(str(group.exceptions[0])) from group
        if group.split(ApiError)[1] is not None:
            raise
        await _leave_out(context, stream, first_error(group))
        return False
    except ApiError as error:
        await _leave_out(context, stream, error)
        return False
    if not stream.per_run and len(context.tally.skipped) == skipped:
        opening.held.add(stream.tables[0])
    if context.aside:
        index = await asyncio.to_thread(read_index, context, whole=True)
        gone = {r for r in context.aside if r in index and index[r]["deleted_at"] is not None}
        tried = {r for r in context.aside if context.is_in_play(r)} - context.failed
        key = (context.project.entity, context.project.project)
        context.state.take_back(((*key, r) for r in sorted(gone | tried)), context.stream)
    return True


async def _leave_out(context: Context, stream: ProjectStream, error: BaseException) -> None:
    """Goes on without a stream that failed, unless the others would fail just so."""
    if isinstance(error, (AuthenticationError, RateLimitedError, TransportError)):
        raise error
    assert isinstance(error, ApiError)
    await context.check_server(error)
    context.skip(f"{context.project} {', '.join(stream.tables)}", str(error))


def _describe(streams: list[ProjectStream], context: Context, opening: Opening) -> str:
    """Returns what a sync that stops here leaves to the next one."""
    parts = []
    for stream in streams:
        name = stream.tables[0]
        if stream is RUNS:
            name = f"runs ({context.tally.runs_seen:,} of {opening.project.get('runCount')} seen)"
        elif name == "history":
            jobs = HistorySync(context, read_index(context)).plan()
            name = f"history of {len(jobs):,} runs" if jobs else ""
        parts.append(name)
    is_stuck = not context.tally.commits and not context.tally.runs_seen
    hint = "; the budget was too small to commit anything, allow more" if is_stuck else ""
    return f"not done yet: {', '.join(filter(None, parts))}{hint}"


FIELDS = {
    "internalId": "internal_id",
    "access": "access",
    "readOnly": "is_read_only",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "runCount": "run_count",
    "totalSweeps": "sweep_count",
}
"""Fields of a project whose null says nothing where something is held."""

PARTS = (*REPORT_PARTS, ("project", "sweeps"), ("project", "artifactTypes"))
"""Parts of the opening request that a key may be refused."""

Opened = tuple[dict[str, Any] | None, dict[tuple[str, ...], str]]
"""What the request that opens a sync says, and what of it the server refused."""


async def _open(context: Context) -> Opened:
    """Asks what opens a sync; None for a project that is not to be seen.

    Versions of artifacts are left out of it where the server finds them too much.
    """
    document, variables = load_document("project_state"), project_variables(context)
    try:
        data, refused = await context.client.execute_parts(
            document, {**variables, "versions": LISTED_VERSIONS}, PARTS, max_attempts=5
        )
    except (GraphQLError, ServerError) as error:
        if not is_too_large(error):
            raise
        data, refused = await context.client.execute_parts(
            document, {**variables, "versions": 0}, PARTS
        )
    return data.get("project"), refused


async def _find(context: Context) -> Opened:
    """Returns a project that was renamed, under its new name; None for one that was deleted.

    Raises:
        NotFoundError: It was never held, or nothing says that it is not merely out of sight.
    """
    path = context.project
    missing = _missing(context)
    held = (await read_held(context, "projects")).to_pylist()
    if not held:
        raise missing
    if held[0]["deleted_at"] is None:
        listed, is_whole = await list_projects(context.client, path.entity)
        moves = await follow_projects(context, listed, is_whole=is_whole)
        if path.project in moves:
            context.project = ProjectPath(path.entity, moves[path.project])
            context.skip(str(path), f"W&B calls this project {context.project} now: name it so")
            return await _open(context)
        held = (await read_held(context, "projects")).to_pylist()
        if held[0]["deleted_at"] is None:
            raise missing
    context.skip(str(path), "W&B no longer has this project; its rows are kept, marked as deleted")
    return None, {}


def _missing(context: Context) -> NotFoundError:
    return NotFoundError(
        f"{context.project}: no such project on {context.client.base_url}, or this key may not see"
        " it; check the spelling and the key's access",
        operation="ProjectState",
    )


def _internal_id(project: dict[str, Any]) -> str | None:
    return None if project.get("internalId") is None else str(project["internalId"])


def _is_same(held: dict[str, Any], project: dict[str, Any]) -> bool:
    """Says whether a held project is not another one of that name, as far as W&B tells."""
    pairs = ((held["project_id"], project.get("id")), (held["internal_id"], _internal_id(project)))
    return all(ours is None or theirs is None or ours == theirs for ours, theirs in pairs)


async def _write_project(context: Context, opening: Opening) -> None:
    import pyarrow as pa

    untold = Untold(context, "projects")
    for held in (await read_held(context, "projects")).to_pylist():
        if _is_same(held, opening.project):
            untold.fill(opening.project, held, FIELDS, held["project"])
    untold.say()
    rows = build_project_rows([opening.project], context.project.entity, context.synced_at)
    bookmark = dict(opening.bookmark or {})
    if opening.pending:
        bookmark["pending"] = opening.pending
    if opening.held:
        bookmark["held"] = sorted(opening.held)
    text = json.dumps(bookmark, sort_keys=True) if bookmark else None
    for column, value in (("bookmark", text), ("project", context.project.project)):
        place = rows.schema.get_field_index(column)
        rows = rows.set_column(place, rows.schema.field(place), pa.array([value], pa.string()))
    await write_changes(context, "projects", rows, key=["entity", "project"], gone=False)
