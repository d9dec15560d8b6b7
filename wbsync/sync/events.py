"""Keeps the system metrics of a project's runs in step with W&B.

W&B offers one way to read them, `events(samples)`, which samples when there are more rows than
asked for; so more are asked for than W&B claims, for many runs in one request. Only an answer with
fewer rows than were asked for, and no fewer than claimed, is whole: the next one goes on from it.
One that is not is a sample, and the report says so. What is held stays where it has as many rows
of the same time as the sample has, and gains the later ones; else the sample replaces it.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wbsync.api import run_batch_document
from wbsync.checksum import Content
from wbsync.errors import ApiError, AuthenticationError, ExtractError
from wbsync.extract.metrics import content_of_metrics, event_times, events_to_metrics
from wbsync.sync.cursors import Cursor, Cursors
from wbsync.sync.plan import HistoryJob, pack_events, plan_events
from wbsync.sync.segments import run_scope
from wbsync.sync.settled import of_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from wbsync.model import RunPath
    from wbsync.sync.context import Context
    from wbsync.sync.plan import Stored

MAX_SAMPLES = 10_000
"""More than this in one answer makes servers time out."""

MARGIN = 500
"""Rows asked for beyond those claimed: a live run grows while others are read."""

COMMIT_VALUES = 1_000_000


def is_whole_cursor(cursor: Cursor) -> bool:
    """Says whether what a cursor speaks of was read whole, and not sampled."""
    return cursor.claimed_rows is not None and cursor.rows >= cursor.claimed_rows


class EventSync:
    """Reads what plan_events asks for."""

    def __init__(self, context: Context, runs: dict[str, Stored]) -> None:
        self._context = context
        self._runs = runs
        self._tables: list[pa.Table] = []
        self._cursors: dict[RunPath, Cursor] = {}

    def plan(self, among: Sequence[HistoryJob] | None = None) -> list[HistoryJob]:
        """Returns the runs whose system metrics must be read; of some jobs', those still so."""
        runs = of_jobs(self._runs, among)
        context = self._context
        cursors = Cursors(context.lake, context.state, "system_metrics")
        cursors.catch_up()
        held = cursors.of_project(context.project, runs)
        history = Cursors(context.lake, context.state, "history")
        history.catch_up()
        timelines = {r: c.timeline for r, c in history.of_project(context.project, runs).items()}
        return list(plan_events(context.project, runs.values(), held, timelines))

    async def run(self, jobs: Sequence[HistoryJob]) -> None:
        """Reads the jobs' runs, as many to a request as one answer may hold."""
        claimed = [min(self._claimed(job), MAX_SAMPLES) for job in jobs]
        try:
            for group in pack_events(claimed):
                await self._read([jobs[index] for index in group])
        finally:
            await self._commit()

    def _claimed(self, job: HistoryJob) -> int:
        return int(self._runs[job.run.run_id]["event_line_count"] or 0)

    def _asked(self, job: HistoryJob) -> int:
        return min(self._claimed(job) + MARGIN, MAX_SAMPLES)

    async def _read(self, batch: list[HistoryJob]) -> None:
        context = self._context
        variables: dict[str, Any] = {
            "entity": context.project.entity,
            "project": context.project.project,
        }
        for index, job in enumerate(batch):
            variables[f"n{index}"] = job.run.run_id
            variables[f"s{index}"] = self._asked(job)
        try:
            data = await context.client.execute(run_batch_document("events", len(batch)), variables)
        except AuthenticationError:
            raise
        except ApiError as error:
            await context.check_server(error)
            if len(batch) == 1:
                context.set_aside(batch[0].run, error)
                return
            await self._read(batch[: len(batch) // 2])
            await self._read(batch[len(batch) // 2 :])
            return
        project = data.get("project") or {}
        for index, job in enumerate(batch):
            node = project.get(f"r{index}") or {}
            if node.get("events") is None:
                context.set_aside(job.run, ExtractError("W&B does not show its system metrics"))
                continue
            try:
                await self._take(job, node["events"], node.get("eventsLineCount"))
            except ExtractError as error:
                context.set_aside(job.run, error)
        if sum(t.num_rows for t in self._tables) >= COMMIT_VALUES:
            await self._commit()

    async def _take(self, job: HistoryJob, rows: list[Any], claimed_now: int | None) -> None:
        context = self._context
        stored = self._runs[job.run.run_id]
        claimed = self._claimed(job)
        newest_claim = max(claimed, claimed_now or 0)
        if job.reset and newest_claim and not rows:
            raise ExtractError(
                f"W&B claims {newest_claim} rows of system metrics and gave none; what is held"
                " stays"
            )
        is_whole = newest_claim <= len(rows) < self._asked(job)
        held = job.cursor
        goes_on, first, fresh, later = False, 0, rows, rows[:0]
        if held is not None and is_whole:
            last = event_times(rows[max(held.rows - 1, 0) : held.rows])
            goes_on = is_whole_cursor(held) and (not held.tail or last == held.tail)
        elif held is not None and held.tail and held.tail[0] is not None:
            later = _later(rows, held.tail[0])
            goes_on = held.rows >= len(rows) - len(later)
        if held is not None and goes_on:
            first, fresh = held.rows, rows[held.rows :] if is_whole else later
        if not is_whole:
            context.skip(
                f"{job.run} system metrics",
                f"W&B sampled them: {first + len(fresh)} of {newest_claim} rows",
            )
        table = await asyncio.to_thread(
            events_to_metrics, fresh, job.run, first_step=first, synced_at=context.synced_at
        )
        before = held.content if held is not None and goes_on else Content()
        content = before and before + await asyncio.to_thread(content_of_metrics, table)
        created_at = stored["created_at"]
        reached = Cursor(
            storage_id=stored["storage_id"],
            last_step=None,
            rows=first + len(fresh),
            claimed_rows=claimed if is_whole else max(newest_claim, first + len(fresh) + 1),
            claimed_last_step=None,
            created_at=created_at and created_at.isoformat(),
            tail=event_times(fresh[-1:]) or (held.tail if held is not None else ()),
            timeline=job.timeline,
            source="rows" if is_whole else "sampled",
            **({} if content is None else asdict(content)),
        )
        if job.reset or (held is not None and not goes_on):
            await context.write(
                "system_metrics",
                table,
                scope=run_scope([job.run]),
                metadata=Cursors.metadata({job.run: reached}),
            )
            return
        self._tables.append(table)
        self._cursors[job.run] = reached

    async def _commit(self) -> None:
        import pyarrow as pa

        tables, self._tables = self._tables, []
        cursors, self._cursors = self._cursors, {}
        if cursors:
            await self._context.write(
                "system_metrics", pa.concat_tables(tables), metadata=Cursors.metadata(cursors)
            )


def _later(rows: list[Any], instant: float) -> list[Any]:
    """Returns the rows that were logged after an instant."""
    return [
        row
        for row, logged_at in zip(rows, event_times(rows), strict=True)
        if logged_at is not None and logged_at > instant
    ]
