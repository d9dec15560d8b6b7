"""Keeps the system metrics of a project's runs in step with W&B.

W&B offers one way to read them, `events(samples)`, which samples when there are more rows than
asked for; so as many are asked for as W&B claims, for many runs in one request, and where fewer
come back than claimed the report says so.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wbsync.api import run_batch_document
from wbsync.errors import ApiError, AuthenticationError, ExtractError
from wbsync.extract.metrics import events_to_metrics
from wbsync.sync.cursors import Cursor, Cursors
from wbsync.sync.plan import HistoryJob, plan_events
from wbsync.sync.segments import run_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from wbsync.model import RunPath
    from wbsync.sync.context import Context
    from wbsync.sync.plan import Stored

MAX_SAMPLES = 10_000
"""More than this in one answer makes servers time out."""

ROWS_PER_REQUEST = 10_000
RUNS_PER_REQUEST = 100
COMMIT_VALUES = 1_000_000


class EventSync:
    """Reads what plan_events asks for."""

    def __init__(self, context: Context, runs: dict[str, Stored]) -> None:
        self._context = context
        self._runs = runs
        self._tables: list[pa.Table] = []
        self._cursors: dict[RunPath, Cursor] = {}

    def plan(self) -> list[HistoryJob]:
        """Returns the runs whose system metrics must be read."""
        context = self._context
        cursors = Cursors(context.lake, context.state, "system_metrics")
        cursors.catch_up()
        held = cursors.of_project(context.project)
        return list(plan_events(context.project, self._runs.values(), held))

    async def run(self, jobs: Sequence[HistoryJob]) -> None:
        """Reads the jobs' runs, as many to a request as one answer may hold."""
        batch: list[HistoryJob] = []
        rows = 0
        try:
            for job in jobs:
                claimed = min(self._claimed(job), MAX_SAMPLES)
                if batch and (rows + claimed > ROWS_PER_REQUEST or len(batch) == RUNS_PER_REQUEST):
                    await self._read(batch)
                    batch, rows = [], 0
                batch.append(job)
                rows += claimed
            if batch:
                await self._read(batch)
        finally:
            await self._commit()

    def _claimed(self, job: HistoryJob) -> int:
        return int(self._runs[job.run.run_id]["event_line_count"] or 0)

    async def _read(self, batch: list[HistoryJob]) -> None:
        context = self._context
        variables: dict[str, Any] = {
            "entity": context.project.entity,
            "project": context.project.project,
        }
        for index, job in enumerate(batch):
            variables[f"n{index}"] = job.run.run_id
            variables[f"s{index}"] = min(self._claimed(job), MAX_SAMPLES)
        try:
            data = await context.client.execute(run_batch_document("events", len(batch)), variables)
        except AuthenticationError:
            raise
        except ApiError as error:
            if len(batch) == 1:
                context.set_aside(batch[0].run, error)
                return
            await self._read(batch[: len(batch) // 2])
            await self._read(batch[len(batch) // 2 :])
            return
        project = data.get("project") or {}
        for index, job in enumerate(batch):
            rows = (project.get(f"r{index}") or {}).get("events") or []
            try:
                await self._take(job, rows)
            except ExtractError as error:
                context.set_aside(job.run, error)
        if sum(t.num_rows for t in self._tables) >= COMMIT_VALUES:
            await self._commit()

    async def _take(self, job: HistoryJob, rows: list[Any]) -> None:
        context = self._context
        claimed = self._claimed(job)
        stored = self._runs[job.run.run_id]
        is_whole = len(rows) >= claimed
        held = job.cursor.rows if job.cursor is not None and is_whole else 0
        if not is_whole:
            context.skip(
                str(job.run),
                f"W&B sampled the system metrics: {len(rows)} of {claimed} rows",
            )
        table = await asyncio.to_thread(
            events_to_metrics, rows[held:], job.run, first_step=held, synced_at=context.synced_at
        )
        cursor = Cursor(
            storage_id=stored["storage_id"],
            last_step=None,
            rows=held + len(rows[held:]),
            claimed_rows=claimed,
            claimed_last_step=None,
        )
        if job.reset or (job.cursor is not None and not is_whole):
            await context.write(
                "system_metrics",
                table,
                scope=run_scope([job.run]),
                metadata=Cursors.metadata({job.run: cursor}),
            )
            return
        self._tables.append(table)
        self._cursors[job.run] = cursor

    async def _commit(self) -> None:
        import pyarrow as pa

        tables, self._tables = self._tables, []
        cursors, self._cursors = self._cursors, {}
        if cursors:
            await self._context.write(
                "system_metrics", pa.concat_tables(tables), metadata=Cursors.metadata(cursors)
            )
