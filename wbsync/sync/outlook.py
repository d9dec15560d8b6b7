"""What a sync of a project would ask and bring, foretold stream by stream.

Light pages say which runs are new or changed and how many rows of history each claims. One heavy
page and one question for exports, of a few of those runs, say how many values a row holds, how
much of it is exported, and how big a run is; all others are taken to be like them. What a stream
would ask is then counted with the functions that decide it in a real sync.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api import load_document, run_batch_document
from wbsync.errors import ApiError, AuthenticationError, TransportError
from wbsync.extract.rows import nodes_of
from wbsync.extract.values import as_int, parse_time
from wbsync.sync import artifact_files, console_logs, run_files
from wbsync.sync.artifacts import differing_collections, listed_collections
from wbsync.sync.batches import lacks
from wbsync.sync.cursors import Cursors
from wbsync.sync.events import MAX_SAMPLES
from wbsync.sync.history import RUNS_PER_REQUEST
from wbsync.sync.inventory import (
    PAGE_ROWS,
    project_variables,
    read_held,
)
from wbsync.sync.log_plan import COLUMNS as LOG_COLUMNS
from wbsync.sync.log_plan import LogCursor, plan_logs
from wbsync.sync.plan import (
    INDEX_COLUMNS,
    pack_events,
    pack_windows,
    plan_events,
    plan_history,
    plan_windows,
)
from wbsync.sync.reports import count_requests
from wbsync.sync.runs import HEAVY_PAGE_ROWS, LIGHT_PAGE_ROWS, RunSync, read_index
from wbsync.sync.sweeps import same_sweeps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from wbsync.sync.context import Context
    from wbsync.sync.plan import HistoryJob, Stored
    from wbsync.sync.runs import Survey
    from wbsync.sync.streams import Opening

SAMPLE_RUNS = 20
VALUE_BYTES = 8.0
"""Bytes of a value in an export, where no earlier sync tells."""
LIVE_VALUE_BYTES = 24.0
"""Bytes of a value in rows of JSON."""
EVENT_ROW_BYTES = 500.0
"""Bytes of a row of system metrics in JSON."""


@dataclass(slots=True)
class Load:
    """What a stream would ask and bring."""

    requests: int = 0
    bytes_in: float = 0.0
    runs: int = 0
    """Runs whose history would be read."""
    rows: int = 0
    values: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a few of the runs to be read are like; all numbers are means."""

    run_bytes: float = 2_000.0
    """Bytes of a run in a heavy page."""
    values_per_row: float = 10.0
    steps_per_row: float = 1.0
    events_per_run: float = 0.0
    """Rows of system metrics."""
    live_runs: float = 0.0
    """Share of runs that have rows which are in no export."""
    live_rows: float = 0.0
    """Share of the rows of such runs that are in no export."""
    lines_per_run: int | None = None
    """Lines of console output; None where W&B does not say."""


@dataclass(slots=True)
class Outlook:
    """What is known of a project before it is synced."""

    survey: Survey
    sample: Sample
    is_first: bool
    """Whether no whole walk has been made yet."""
    has_updated_at: bool
    light_bytes: float
    """Bytes of the survey's pages."""
    new_versions: int = 0
    """Artifact versions of collections that would be read."""
    index: dict[str, Stored] = field(default_factory=dict)
    """Runs as they will be held once they are synced, as far as can be told."""

    def page(self, wanted: int) -> int:
        """Returns the rows that a page of so many would hold: servers cap them."""
        return min(wanted, self.survey.page_rows or wanted)


async def look(context: Context, opening: Opening) -> Outlook:
    """Returns the outlook of a project; asks in light pages, and for a sample of its runs."""
    meter = context.client.meter
    before = meter.bytes_in
    survey = await RunSync(context, opening.bookmark, opening.began).survey(
        opening.project.get("runCount")
    )
    outlook = Outlook(
        survey=survey,
        sample=Sample(),
        is_first=opening.bookmark is None and context.options.selection.is_everything,
        has_updated_at="Run.updatedAt" not in context.client.capabilities.missing_fields,
        light_bytes=meter.bytes_in - before,
    )
    outlook.index = {
        run_id: stored
        for run_id, stored in survey.index.items()
        if stored["deleted_at"] is None and run_id not in set(survey.gone)
    }
    candidates = [
        run_id
        for run_id, node in survey.changed.items()
        if (as_int(node.get("historyLineCount")) or 0)
        != ((survey.index.get(run_id) or {}).get("history_line_count") or 0)
    ]
    if not candidates and context.options.wants(("history",)):
        # Runs that an earlier sync has left, as it was stopped or not asked for their history.
        candidates = [job.run.run_id for job in _history_jobs(context, outlook)]
    chosen = candidates[:: max(1, math.ceil(len(candidates) / SAMPLE_RUNS))]
    if chosen:
        outlook.sample = await _take_sample(context, chosen)
    for run_id, node in survey.changed.items():
        outlook.index[run_id] = foretell(node, survey.index.get(run_id), outlook.sample)
    return outlook


def foretell(node: dict[str, Any], stored: Stored | None, sample: Sample) -> Stored:
    """Returns how a run will be held, from its light page, what is held, and runs like it."""
    rows = as_int(node.get("historyLineCount")) or 0
    held = dict.fromkeys(INDEX_COLUMNS) if stored is None else stored
    grown = rows - (held["history_line_count"] or 0)
    if stored is None or grown < 0:
        last_step = round(rows * sample.steps_per_row) - 1 if rows else None
        events = round(sample.events_per_run)
    else:
        more = round(grown * sample.steps_per_row)
        last_step = held["last_step"] if not more else (held["last_step"] or 0) + more
        events = held["event_line_count"] or 0
        events += round(sample.events_per_run * grown / rows) if rows else 0
    return {
        **held,
        "run_id": node["name"],
        "storage_id": node.get("id"),
        "state": node.get("state"),
        "heartbeat_at": parse_time(node.get("heartbeatAt")),
        "history_line_count": rows,
        "last_step": last_step,
        "event_line_count": events,
        "deleted_at": None,
    }


async def _take_sample(context: Context, runs: list[str]) -> Sample:
    """Returns what some runs are like, in two requests; a guess where the server refuses."""
    client = context.client
    place = project_variables(context)
    before = client.meter.bytes_in
    try:
        data = await client.execute(
            load_document("project_runs"),
            {**place, "perPage": len(runs), "filters": json.dumps({"name": {"$in": runs}})},
        )
        nodes = nodes_of((data.get("project") or {}).get("runs") or {})
        run_bytes = (client.meter.bytes_in - before) / max(1, len(nodes))
        names = {f"n{index}": run_id for index, run_id in enumerate(runs)}
        answer = await client.execute(run_batch_document("exports", len(runs)), {**place, **names})
    except (AuthenticationError, TransportError):
        raise
    except ApiError:
        return Sample()
    exports = [(answer.get("project") or {}).get(f"r{i}") or {} for i in range(len(runs))]
    return build_sample(nodes, exports, run_bytes)


def build_sample(
    nodes: list[dict[str, Any]], exports: list[dict[str, Any]], run_bytes: float
) -> Sample:
    """Returns what runs are like.

    Args:
        nodes: Runs of a heavy page.
        exports: What W&B says of the exports of runs.
        run_bytes: Bytes of a run in the page.
    """
    rows = values = steps = events = 0
    lines = [n for node in nodes if (n := as_int(node.get("logLineCount"))) is not None]
    for node in nodes:
        history_keys = node.get("historyKeys") or {}
        rows += as_int(node.get("historyLineCount")) or 0
        last_step = as_int(history_keys.get("lastStep"))
        steps += 0 if last_step is None else last_step + 1
        events += min(as_int(node.get("eventsLineCount")) or 0, MAX_SAMPLES)
        for key in (history_keys.get("keys") or {}).values():
            values += sum(as_int(t.get("count")) or 0 for t in key.get("typeCounts") or ())
    live, live_rows, live_of = 0, 0, 0
    for export in exports:
        claimed = as_int(export.get("historyLineCount")) or 0
        history = export.get("parquetHistory") or {}
        is_whole = not history.get("parquetUrls")
        fresh = claimed if is_whole else len(history.get("liveData") or ())
        if fresh:
            live += 1
            live_rows += fresh
            live_of += claimed
    return Sample(
        run_bytes=run_bytes,
        values_per_row=values / rows if rows else 0.0,
        steps_per_row=max(1.0, steps / rows) if rows else 1.0,
        events_per_run=events / len(nodes) if nodes else 0.0,
        live_runs=live / len(exports) if exports else 0.0,
        live_rows=min(1.0, live_rows / live_of) if live_of else 0.0,
        lines_per_run=math.ceil(sum(lines) / len(lines)) if lines else None,
    )


async def foresee_runs(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what the walk over the runs would ask."""
    survey, selection = outlook.survey, context.options.selection
    changed = len(survey.changed)
    heavy = outlook.page(HEAVY_PAGE_ROWS)
    total = max(len(survey.seen), opening.project.get("runCount") or 0)
    if selection.runs:
        return Load(_pages(len(selection.runs), heavy), outlook.sample.run_bytes * changed)
    if outlook.is_first:
        position = context.state.walk(context.project.entity, context.project.project)
        total -= len(position["seen"]) if position is not None else 0
        asks_more = (
            outlook.has_updated_at and context.client.capabilities.filters_updated_at is None
        )
        return Load(max(1, _pages(total, heavy)) + asks_more, outlook.sample.run_bytes * total)
    if context.options.full and selection.is_everything:
        walked = max(1, _pages(total, heavy))
        return Load(survey.pages + walked, outlook.light_bytes + outlook.sample.run_bytes * total)
    if not outlook.has_updated_at:
        page = outlook.page(LIGHT_PAGE_ROWS if selection.is_everything else HEAVY_PAGE_ROWS)
        of = total if selection.is_everything else survey.met
        return Load(max(1, _pages(of, page)), outlook.sample.run_bytes * of)
    read = max(changed, survey.tested)
    fetched = sum(
        _pages(min(HEAVY_PAGE_ROWS, read - start), heavy)
        for start in range(0, read, HEAVY_PAGE_ROWS)
    )
    return Load(survey.pages + fetched, outlook.light_bytes + outlook.sample.run_bytes * read)


def _pages(rows: int, page_rows: int) -> int:
    return math.ceil(rows / page_rows)


async def foresee_history(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading history would ask: exports of many runs at once, then live rows."""
    jobs = _history_jobs(context, outlook)
    sample = outlook.sample
    load = Load(requests=math.ceil(len(jobs) / RUNS_PER_REQUEST), runs=len(jobs))
    if context.options.full and not opening.is_first:
        checked = Cursors(context.lake, context.state, "history").of_project(context.project)
        load.requests += _pages(len(checked), RUNS_PER_REQUEST)
    live_values = 0.0
    for start in range(0, len(jobs), RUNS_PER_REQUEST):
        windows = []
        for index, job in enumerate(jobs[start : start + RUNS_PER_REQUEST]):
            rows, live = _rows_of(job, outlook, place=start + index)
            load.rows += rows
            live_values += live * sample.values_per_row
            last_step = outlook.index[job.run.run_id]["last_step"]
            if live and last_step is not None:
                first = max(0, last_step + 1 - math.ceil(live * sample.steps_per_row))
                claimed = outlook.index[job.run.run_id]["history_line_count"] or 0
                windows += plan_windows(index, first, last_step, claimed)
        load.requests += len(pack_windows(windows))
    load.values = load.rows * sample.values_per_row
    load.bytes_in = (load.values - live_values) * _value_bytes(context)
    load.bytes_in += live_values * LIVE_VALUE_BYTES
    return load


def _history_jobs(context: Context, outlook: Outlook) -> list[HistoryJob]:
    """Returns the runs whose history would be read."""
    cursors = Cursors(context.lake, context.state, "history")
    counted = Cursors(context.lake, context.state, "history_keys")
    cursors.catch_up()
    counted.catch_up()
    return list(
        plan_history(
            context.project,
            _in_play(context, outlook),
            cursors.of_project(context.project),
            counted.of_project(context.project),
            logged_at={},
        )
    )


def _rows_of(job: HistoryJob, outlook: Outlook, *, place: int) -> tuple[int, int]:
    """Returns the rows that a job is about to bring, and how many of them are in no export.

    Which runs have rows beside their exports is not known: they are spread evenly.
    """
    sample = outlook.sample
    claimed = outlook.index[job.run.run_id]["history_line_count"] or 0
    rows = max(0, claimed - (job.cursor.rows if job.cursor is not None else 0))
    is_live = math.floor((place + 1) * sample.live_runs) > math.floor(place * sample.live_runs)
    return rows, min(rows, math.ceil(claimed * sample.live_rows)) if is_live else 0


def _in_play(context: Context, outlook: Outlook) -> Iterable[Stored]:
    return (row for run_id, row in outlook.index.items() if context.is_in_play(run_id))


def _value_bytes(context: Context) -> float:
    """Returns the bytes of a value, as far as earlier syncs tell."""
    log = [row for row in context.state.sync_log() if row["history_rows"] >= 10_000]
    values = sum(row["history_rows"] for row in log)
    if not values:
        return VALUE_BYTES
    return float(min(100.0, max(1.0, sum(row["bytes_in"] for row in log) / values)))


async def foresee_events(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading system metrics would ask."""
    del opening
    cursors = Cursors(context.lake, context.state, "system_metrics")
    cursors.catch_up()
    held = cursors.of_project(context.project)
    history = Cursors(context.lake, context.state, "history").of_project(context.project)
    timelines = {run_id: cursor.timeline for run_id, cursor in history.items()}
    jobs = plan_events(context.project, _in_play(context, outlook), held, timelines)
    claimed = [
        min(outlook.index[job.run.run_id]["event_line_count"] or 0, MAX_SAMPLES) for job in jobs
    ]
    return Load(len(pack_events(claimed)), sum(claimed) * EVENT_ROW_BYTES)


async def foresee_run_files(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what listing runs' files would ask: runs that have few fit many to a request."""
    del opening
    cursors = Cursors(context.lake, context.state, run_files.TABLE)
    cursors.catch_up()
    read = cursors.read(context.project, run_files.FileCursor)
    if lacks(context, "Run.files"):
        return Load()
    jobs = list(run_files.plan_files(context.project, _in_play(context, outlook), read))
    return Load(_pages(len(jobs), run_files.RUNS_PER_REQUEST))


async def foresee_console_logs(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading console output would ask; new runs are taken to be like the sample."""
    del opening
    cursors = Cursors(context.lake, context.state, console_logs.TABLE)
    cursors.catch_up()
    read = cursors.read(context.project, LogCursor)
    held = await asyncio.to_thread(read_index, context, LOG_COLUMNS)
    columns = (
        "run_id", "storage_id", "state", "created_at", "heartbeat_at", "branch_point", "deleted_at",
    )  # fmt: skip
    unknown = outlook.sample.lines_per_run
    runs = (
        {"log_line_count": unknown, **held.get(row["run_id"], {}), **{c: row[c] for c in columns}}
        for row in _in_play(context, outlook)
    )
    jobs = list(plan_logs(context.project, runs, read))
    lines = sum(job.expected for job in jobs)
    by_runs = _pages(len(jobs), console_logs.RUNS_PER_REQUEST)
    return Load(max(by_runs, _pages(lines, console_logs.LINES_PER_REQUEST)))


async def foresee_sweeps(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading sweeps would ask."""
    if opening.project.get("sweeps") is None:
        return Load()
    light = nodes_of(opening.project["sweeps"])
    rows = (await read_held(context, "sweeps")).to_pylist()
    held = {r["sweep_id"]: r for r in rows if r["deleted_at"] is None}
    if same_sweeps(held, light) and not (context.options.full and held):
        return Load()
    return Load(max(1, _pages(len(light), outlook.page(PAGE_ROWS))))


async def foresee_artifacts(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading the versions of artifact collections would ask."""
    pairs = listed_collections(opening.project.get("artifactTypes") or {})
    differing = await differing_collections(context, pairs)
    load = Load()
    for type_name, collection in pairs:
        differs = (type_name, collection["name"]) in differing
        if not differs and not context.options.full:
            continue
        versions = as_int((collection.get("artifacts") or {}).get("totalCount")) or 1
        load.requests += max(1, _pages(versions, outlook.page(PAGE_ROWS)))
        outlook.new_versions += versions if differs else 0
    return load


async def foresee_artifact_files(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading manifests would ask; versions of collections to be read count as new."""
    del opening
    if any(lacks(context, field) for field in artifact_files.NEEDED):
        return Load()
    unread = await asyncio.to_thread(artifact_files.count_unread, context)
    return Load(_pages(unread + outlook.new_versions, artifact_files.VERSIONS_PER_REQUEST))


async def foresee_reports(context: Context, opening: Opening, outlook: Outlook) -> Load:
    """Returns what reading reports would ask."""
    del outlook
    return Load(await count_requests(context, opening.project))


FORESEEN: Mapping[str, Callable[[Context, Opening, Outlook], Awaitable[Load]]] = {
    "runs": foresee_runs,
    "history": foresee_history,
    "system_metrics": foresee_events,
    "run_files": foresee_run_files,
    "console_logs": foresee_console_logs,
    "sweeps": foresee_sweeps,
    "artifacts": foresee_artifacts,
    "artifact_files": foresee_artifact_files,
    "reports": foresee_reports,
}
"""What `--skip` calls a stream to what tells beforehand what it would ask."""
