"""What a sync reads: one stream a kind of thing, in the order in which they run.

A stream fills some tables. Those of a project start from the answer to the one light request that
opens its sync; those of an entity from nothing. `--only` and `--skip` choose among them by table.
"""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from wbsync.errors import BudgetSpentError, ConfigError
from wbsync.model import SyncOptions
from wbsync.progress import RunsPlanned
from wbsync.sync.artifact_files import sync_artifact_files
from wbsync.sync.artifacts import sync_artifacts
from wbsync.sync.checks import HistoryCheck
from wbsync.sync.console_logs import sync_console_logs
from wbsync.sync.cursors import Cursors
from wbsync.sync.entity import TABLES as ENTITY_TABLES
from wbsync.sync.entity import sync_entity
from wbsync.sync.events import EventSync
from wbsync.sync.history import HistorySync
from wbsync.sync.registries import TABLES as REGISTRY_TABLES
from wbsync.sync.registries import sync_registries
from wbsync.sync.reports import sync_reports
from wbsync.sync.run_files import sync_run_files
from wbsync.sync.runs import TABLES as RUN_TABLES
from wbsync.sync.runs import RunSync, count_held, read_index
from wbsync.sync.settled import EVENT_SOURCES, HISTORY_SOURCES, settle
from wbsync.sync.sweeps import sync_sweeps
from wbsync.tables import table_names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Sized
    from datetime import datetime

    from wbsync.sync.context import Context, EntityContext
    from wbsync.sync.plan import Stored


@dataclass(slots=True)
class Opening:
    """What the request that opens a project's sync said, and the bookmark, old and then new."""

    project: dict[str, Any]
    """The project as ProjectState selects it."""
    bookmark: dict[str, Any] | None
    """Up to where runs are held; None before a first whole walk."""
    began: datetime
    """The server's clock at that request: what changes later, the sync may miss."""
    refused: dict[str, str] = field(default_factory=dict)
    """Fields of the project that the server refused, with its words; they are null above."""
    pending: list[str] = field(default_factory=list)
    """Streams that the last sync left when its budget was spent, by their first table."""
    held: set[str] = field(default_factory=set)
    """Streams of the project as a whole that were once read to their end, by their first table."""
    is_first: bool = field(init=False)
    """Whether this is the project's first whole sync."""

    def __post_init__(self) -> None:
        self.is_first = self.bookmark is None


@dataclass(frozen=True, slots=True)
class ProjectStream:
    """One kind of thing of a project, and how it is brought up to date."""

    tables: tuple[str, ...]
    """Tables it fills."""
    run: Callable[[Context, Opening], Awaitable[None]]
    on_request: bool = False
    """Whether it runs only where it is asked for."""
    head: str | None = None
    """Table that stands for all in `--skip`, where they are only read together."""
    follows: str | None = None
    """Table that must be up to date first: `--only` brings it along."""
    per_run: bool = True
    """Whether it reads things of runs: a sync of runs that are named leaves the others out."""


@dataclass(frozen=True, slots=True)
class EntityStream:
    """One kind of thing of an entity, and how it is brought up to date."""

    tables: tuple[str, ...]
    run: Callable[[EntityContext], Awaitable[None]]
    on_request: bool = False
    head: str | None = None
    follows: str | None = None


async def _runs(context: Context, opening: Opening) -> None:
    runs = RunSync(context, opening.bookmark, opening.began)
    try:
        opening.bookmark = await runs.run(opening.project.get("runCount"))
        if context.options.full and context.options.selection.is_everything:
            await runs.reconcile()
    except BudgetSpentError:
        await runs.stop()
        raise
    except asyncio.CancelledError:
        await runs.keep()
        raise
    finally:
        runs.say_untold()


async def _history(context: Context, opening: Opening) -> None:
    if not context.options.full and await _is_settled(context, "history", HISTORY_SOURCES):
        total = await asyncio.to_thread(count_held, context)
        context.progress(RunsPlanned(str(context.project), runs_total=total, runs_to_fetch=0))
        return
    runs = await asyncio.to_thread(read_index, context)
    history = HistorySync(context, runs)
    jobs = await asyncio.to_thread(history.plan)
    context.progress(
        RunsPlanned(project=str(context.project), runs_total=len(runs), runs_to_fetch=len(jobs))
    )
    await history.run(jobs)
    await _settle(context, "history", HISTORY_SOURCES, runs, partial(history.plan, jobs))
    if context.options.full and not opening.is_first:
        await HistoryCheck(context, runs).check()


async def _system_metrics(context: Context, opening: Opening) -> None:
    del opening
    if await _is_settled(context, "system_metrics", EVENT_SOURCES):
        return
    runs = await asyncio.to_thread(read_index, context)
    events = EventSync(context, runs)
    jobs = await asyncio.to_thread(events.plan)
    await events.run(jobs)
    await _settle(context, "system_metrics", EVENT_SOURCES, runs, partial(events.plan, jobs))


async def _settle(
    context: Context,
    table: str,
    sources: Sequence[str],
    runs: Mapping[str, Stored],
    look: Callable[[], Sized],
) -> None:
    """Notes that nothing is left to read, if that is so."""
    cursors = Cursors(context.lake, context.state, table)
    left = await asyncio.to_thread(look)
    await asyncio.to_thread(settle, context, cursors, runs, left, *sources)


async def _is_settled(context: Context, table: str, sources: Sequence[str]) -> bool:
    """Says whether a stream has nothing to read of any run that is held."""
    cursors = Cursors(context.lake, context.state, table)
    return await asyncio.to_thread(cursors.is_settled, context.project, *sources)


async def _run_files(context: Context, opening: Opening) -> None:
    del opening
    await sync_run_files(context)


async def _console_logs(context: Context, opening: Opening) -> None:
    del opening
    await sync_console_logs(context)


async def _sweeps(context: Context, opening: Opening) -> None:
    if "sweeps" in opening.project:
        refused = opening.refused.get("sweeps")
        await sync_sweeps(context, opening.project["sweeps"], opening.began, refused)


async def _artifacts(context: Context, opening: Opening) -> None:
    if "artifactTypes" in opening.project:
        refused = opening.refused.get("artifactTypes")
        await sync_artifacts(context, opening.project["artifactTypes"], opening.began, refused)


async def _artifact_files(context: Context, opening: Opening) -> None:
    del opening
    await sync_artifact_files(context)


async def _reports(context: Context, opening: Opening) -> None:
    await sync_reports(context, opening.project, opening.refused)


RUNS = ProjectStream(RUN_TABLES, _runs, head="runs")

PROJECT_STREAMS = (
    RUNS,
    ProjectStream(("history", "history_keys"), _history, head="history", follows="runs"),
    ProjectStream(("system_metrics",), _system_metrics, follows="runs"),
    ProjectStream(("run_files",), _run_files, follows="runs"),
    ProjectStream(("console_logs",), _console_logs, on_request=True, follows="runs"),
    ProjectStream(("sweeps",), _sweeps, per_run=False),
    ProjectStream(
        ("artifact_types", "artifact_collections", "artifacts", "artifact_aliases"),
        _artifacts,
        head="artifacts",
        per_run=False,
    ),
    ProjectStream(("artifact_files",), _artifact_files, follows="artifacts", per_run=False),
    ProjectStream(("reports",), _reports, per_run=False),
)
"""What is read of each project."""

ENTITY_STREAMS = (
    EntityStream(ENTITY_TABLES, sync_entity),
    EntityStream(REGISTRY_TABLES, sync_registries, head="registries"),
)
"""What is read once for each entity whose projects are synced."""


def choose_tables(only: Iterable[str] = (), skip: Iterable[str] = ()) -> SyncOptions:
    """Returns the options that sync some tables.

    Args:
        only: Tables to sync, several in one text separated by commas; none for all.
        skip: Tables to leave as they are.

    Raises:
        ConfigError: A name is no table that can be chosen, or cannot be skipped by itself.
    """
    streams = (*PROJECT_STREAMS, *ENTITY_STREAMS)
    known = {table for stream in streams for table in stream.tables}
    wanted, unwanted = _names("--only", only, known), _names("--skip", skip, known)
    for stream in streams:
        if stream.head in unwanted:
            unwanted |= set(stream.tables)
        partly = unwanted & set(stream.tables)
        if stream.head and partly and stream.head not in unwanted:
            raise ConfigError(
                f"--skip {min(partly)}: it is only read together with"
                f" {', '.join(t for t in stream.tables if t != min(partly))};"
                f" --skip {stream.head} leaves all of them as they are"
            )
    if wanted and wanted <= unwanted:
        raise ConfigError("--skip leaves nothing of --only to sync")
    for stream in streams:
        if stream.follows and wanted & set(stream.tables):
            wanted.add(stream.follows)
    return SyncOptions(only=frozenset(wanted), skip=frozenset(unwanted))


def _names(option: str, texts: Iterable[str], known: Collection[str]) -> set[str]:
    """Returns the table names in texts that separate them by commas."""
    given = [texts] if isinstance(texts, str) else texts
    names = {name.strip() for text in given for name in text.split(",") if name.strip()}
    if given and not names:
        raise ConfigError(f"{option} names no table; without it, all are synced")
    for name in sorted(names - set(known)):
        if name in table_names():
            raise ConfigError(f"{option} {name}: this table comes with every sync")
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "`wbsync tables` lists all"
        raise ConfigError(f"{option} {name}: there is no such table; {hint}")
    return names
