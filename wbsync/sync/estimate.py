"""`--dry-run`: what a sync would do and cost, found without writing anything.

The state is a copy in a temporary folder, the lake is only read, no lock is taken. A few light
requests are made; the report says how many.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.api import Capabilities, Client
from wbsync.errors import ApiError, AuthenticationError, TransportError
from wbsync.lake import Lake, check_warehouse
from wbsync.progress import ProjectStarted, Skipped, SyncStarted
from wbsync.state import State
from wbsync.sync.context import Context
from wbsync.sync.engine import entity_streams_of, parse_sources
from wbsync.sync.outlook import FORESEEN, Load, look
from wbsync.sync.project import enter, open_project, streams_of
from wbsync.sync.sources import resolve_sources
from wbsync.sync.streams import RUNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.model import Source
    from wbsync.progress import ProgressHook
    from wbsync.settings import Credentials

FIXED_S = 1.0
"""Seconds of what every sync does: look at what is held, publish."""
BYTES_PER_S = 20e6
VALUES_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class ProjectEstimate:
    """What a sync of one project would do and cost."""

    project: str
    runs: int
    """Runs that the sync is about."""
    new: int
    changed: int
    gone: int
    """Held runs that W&B no longer shows."""
    history_runs: int
    """Runs whose history would be read."""
    rows: int
    """Rows of history, as W&B claims them."""
    values: int
    """Values of history, about."""
    requests: int
    """GraphQL requests, about."""
    bytes: int
    """Bytes received, about."""
    seconds: float
    """Time, about: requests one after the other, downloads, values, and the rate limit."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sync would do and cost."""

    projects: tuple[ProjectEstimate, ...]
    asked: int
    """Requests that were made to find out."""
    listing: int
    """Those of them that list the projects of entities; a sync makes them, too."""
    entities: int = 0
    """Entities of which a sync asks, too: for their members, registries and automations, once."""
    failed: tuple[Skipped, ...] = ()
    """Projects that could not be looked at."""

    def total(self) -> ProjectEstimate:
        """Returns the sum of all projects."""
        numbers = {
            f.name: sum(getattr(p, f.name) for p in self.projects)
            for f in fields(ProjectEstimate)
            if f.name != "project"
        }
        numbers["requests"] += self.listing + self.entities
        return ProjectEstimate(project="", **numbers)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        total = asdict(self.total())
        del total["project"]
        return {
            "projects": [asdict(p) for p in self.projects],
            "total": total,
            "asked": self.asked,
            "failed": [asdict(f) for f in self.failed],
        }


async def estimate(
    root: Path,
    sources: Sequence[Source],
    credentials: Credentials,
    *,
    progress: ProgressHook,
    concurrency: int = 4,
) -> Estimate:
    """Returns what a sync with the same arguments would do and cost; writes nothing.

    Args:
        root: Folder of the warehouse; it need not exist, and is not made.
        sources: What would be synced, and how.
        credentials: Whom to ask, and the key.
        progress: Called with each event.
        concurrency: Requests in flight.

    Raises:
        WbsyncError: As `sync` does.
    """
    wanted = parse_sources(sources)
    _check_folder(root)
    with tempfile.TemporaryDirectory(prefix="wbsync-") as folder:
        state = State.copy_of(root / "state.sqlite", Path(folder))
        try:
            known = Capabilities.from_json(state.capabilities(credentials.base_url))
            async with Client.open(
                credentials, capabilities=known, concurrency=concurrency
            ) as client:
                return await _estimate(root, state, client, wanted, Path(folder), progress)
        finally:
            state.close()


def _check_folder(root: Path) -> None:
    """Checks that a sync could use the folder: it is a warehouse, empty, or not there."""
    if root.exists() and any(root.iterdir()):
        check_warehouse(root)


async def _estimate(
    root: Path,
    state: State,
    client: Client,
    sources: Sequence[Source],
    scratch: Path,
    progress: ProgressHook,
) -> Estimate:
    chosen = await resolve_sources(client, sources)
    listing = client.meter.requests
    progress(SyncStarted(projects=tuple(str(p) for p in chosen)))
    found: list[ProjectEstimate] = []
    failed: list[Skipped] = []
    for project, options in chosen.items():
        context = Context(
            client=client,
            lake=Lake(root),
            state=state,
            scratch=scratch,
            entity=project.entity,
            project=project,
            progress=progress,
            concurrency=1,
            options=options,
        )
        try:
            found.append(await _estimate_project(context))
        except (AuthenticationError, TransportError):
            raise
        except ApiError as error:
            if len(chosen) == 1:
                raise
            failed.append(Skipped(str(project), str(error)))
    entities = {project.entity for project, o in chosen.items() if entity_streams_of(o)}
    return Estimate(
        tuple(found), client.meter.requests, listing, len(entities), failed=tuple(failed)
    )


async def _estimate_project(context: Context) -> ProjectEstimate:
    opening = await open_project(context)
    context.progress(ProjectStarted(project=str(context.project), runs=None))
    enter(context, RUNS)
    outlook = await look(context, opening)
    survey = outlook.survey
    total = Load(requests=1)
    for stream in streams_of(context.options):
        enter(context, stream)
        load = await FORESEEN[stream.head or stream.tables[0]](context, opening, outlook)
        for f in fields(Load):
            setattr(total, f.name, getattr(total, f.name) + getattr(load, f.name))
    new = sum(run_id not in survey.index for run_id in survey.changed)
    is_all = context.options.selection.is_everything
    return ProjectEstimate(
        project=str(context.project),
        runs=(opening.project.get("runCount") or len(survey.seen)) if is_all else len(survey.seen),
        new=new,
        changed=len(survey.changed) - new,
        gone=len(survey.gone),
        history_runs=total.runs,
        rows=total.rows,
        values=round(total.values),
        requests=total.requests,
        bytes=round(total.bytes_in),
        seconds=round(await asyncio.to_thread(_seconds, context, total), 1),
    )


def _seconds(context: Context, load: Load) -> float:
    """Returns about how long a load takes: here and now, corrected by what earlier syncs took."""
    meter = context.client.meter
    request_s = meter.seconds / max(1, meter.requests)

    def plain(requests: int, bytes_in: float, values: float) -> float:
        return FIXED_S + requests * request_s + bytes_in / BYTES_PER_S + values / VALUES_PER_S

    expected = taken = 0.0
    for row in context.state.sync_log():
        if row["ended_at"] and row["requests"] and row["outcome"] != "failed":
            times = [datetime.fromisoformat(row[name]) for name in ("started_at", "ended_at")]
            taken += (times[1] - times[0]).total_seconds()
            expected += plain(row["requests"], row["bytes_in"], row["history_rows"])
    correction = min(4.0, max(0.25, taken / expected)) if expected else 1.0
    works_s = plain(load.requests, load.bytes_in, load.values) * correction
    return max(works_s, context.client.pacer.forecast_s(load.requests))
