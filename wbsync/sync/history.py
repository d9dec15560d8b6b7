"""Keeps the history of a project's runs in step with W&B.

Fifty runs to a request, W&B is asked which Parquet exports it has and what is still live. Exports
are downloaded from the storage host; rows that are only live are asked for in windows of steps,
those of many runs in one request. What arrives goes to the segment writer run by run; a run that
fails is set aside and the rest goes on.

A run that is held in part is read from its last step on, that step included: its rows must be the
ones that are held. Where they are not, or where fewer rows come than W&B claims, the run is read
anew from its first row.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.api import run_batch_document
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    BudgetSpentError,
    ExtractError,
    HistoryRewrittenError,
    SignedUrlExpiredError,
    TransportError,
)
from wbsync.extract.exports import read_exports
from wbsync.extract.history import (
    HistoryBatch,
    KeysOfRun,
    add_stats,
    build_history_keys,
    key_stats_of,
    rows_to_history,
)
from wbsync.progress import HistoryFetched
from wbsync.sync.context import project_filter
from wbsync.sync.cursors import Cursor, Cursors
from wbsync.sync.plan import (
    LIVE_STATES,
    NO_END,
    HistoryJob,
    Window,
    may_be_rewritten,
    pack_windows,
    plan_history,
    plan_windows,
)
from wbsync.sync.reading import Reading, narrowed
from wbsync.sync.segments import SegmentWriter, Staged, run_scope
from wbsync.sync.settled import of_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.model import RunPath
    from wbsync.sync.context import Context
    from wbsync.sync.plan import Stored

RUNS_PER_REQUEST = 50
LAST_REQUESTS = 20
"""A budget that has no more left than this is spent on one batch of runs after the other."""
PROBE_ROWS = 10_000
SETTLED = timedelta(hours=1)
"""A run that was not heard of for so long serves all rows that it ever will."""
FAILURES = (ApiError, ExtractError)


class HistorySync:
    """Reads what plan_history asks for."""

    def __init__(self, context: Context, runs: dict[str, Stored]) -> None:
        self._context = context
        self._runs = runs
        self._writer = SegmentWriter(context)
        self._staged: dict[RunPath, Staged] = {}
        """What is to take the place of what is held of a run."""
        self._done: list[Reading] = []
        self._counted: dict[str, Cursor] = {}
        self._is_stopped = False
        self._logged_at: dict[str, float] = {}

    def plan(self, among: Sequence[HistoryJob] | None = None) -> list[HistoryJob]:
        """Returns the runs whose history must be read; of some jobs' runs, those still so."""
        runs = of_jobs(self._runs, among)
        context = self._context
        cursors = Cursors(context.lake, context.state, "history")
        counted = Cursors(context.lake, context.state, "history_keys")
        cursors.catch_up()
        counted.catch_up()
        self._counted = counted.of_project(context.project, runs)
        held = cursors.of_project(context.project, runs)
        doubtful = [run_id for run_id in runs if may_be_rewritten(runs[run_id], held.get(run_id))]
        logged_at = read_logged_at(context, doubtful)
        return list(plan_history(context.project, runs.values(), held, self._counted, logged_at))

    async def run(self, jobs: Sequence[HistoryJob]) -> None:
        """Reads the history of the jobs' runs, several batches in flight."""
        names = [job.run.run_id for job in jobs]
        self._logged_at = await asyncio.to_thread(read_logged_at, self._context, names)
        batches = [
            jobs[start : start + RUNS_PER_REQUEST]
            for start in range(0, len(jobs), RUNS_PER_REQUEST)
        ]
        pending = iter(batches)
        budget = self._context.client.budget
        # A batch asks for exports, then for rows: side by side, the last requests of a budget
        # would all go into questions whose answers cannot be used.
        workers = 2 if budget.requests_left > LAST_REQUESTS else 1

        async def work() -> None:
            while not budget.is_spent and (batch := next(pending, None)) is not None:
                await self._read_batch([self._begin(job) for job in batch])

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(workers, len(batches))):
                    group.create_task(work())
        finally:
            await self._finish()
        if self._is_stopped or next(pending, None) is not None:
            raise BudgetSpentError("the budget was spent before all history was read")

    def _begin(self, job: HistoryJob) -> Reading:
        run_id = job.run.run_id
        return Reading.of(job, self._runs[run_id], self._logged_at.get(run_id))

    async def _read_batch(self, batch: list[Reading]) -> None:
        """Reads a batch of runs; where the request for all fails, one by one."""
        try:
            await self._ask_exports(batch)
        except AuthenticationError:
            raise
        except BudgetSpentError:
            self._is_stopped = True
            return
        except FAILURES as error:
            await self._context.check_server(error)
            if len(batch) == 1:
                batch[0].error = error
            else:
                middle = len(batch) // 2
                await self._read_batch(batch[:middle])
                await self._read_batch(batch[middle:])
                return
        batch = self.wanted(batch)
        done: list[Reading] = []
        while batch:
            await self._read(batch)
            again = []
            for progress in batch:
                if progress.error is None and progress.is_off and not self._may_come(progress):
                    following = progress.next_try()
                    if following is not None:
                        self._staged.pop(progress.job.run, None)
                        again.append(following)
                        continue
                done.append(progress)
            batch = again
        for progress in done:
            if isinstance(progress.error, BudgetSpentError):
                self._is_stopped = True
                continue
            if progress.error is not None:
                self._staged.pop(progress.job.run, None)
                await self._context.check_server(progress.error)
                self._context.set_aside(progress.job.run, progress.error)
                continue
            if await self._complete(progress):
                self._done.append(progress)
        if sum(len(p.stats) for p in self._done) > 10_000:
            await self._write_keys()

    def wanted(self, batch: list[Reading]) -> list[Reading]:
        """Returns those of a batch that are to be read, now that it is known what W&B claims."""
        return batch

    async def _read(self, batch: list[Reading]) -> None:
        """Reads what W&B has of some runs: what is exported, what is live, what is neither."""
        gate = asyncio.Semaphore(self._context.concurrency)

        async def exports(progress: Reading) -> None:
            async with gate:
                await self._guard(progress, self._read_exports(progress))

        async with asyncio.TaskGroup() as group:
            for progress in batch:
                if progress.error is None:
                    group.create_task(exports(progress))
        await self._read_live(batch)
        await self._probe(batch)

    def _may_come(self, progress: Reading) -> bool:
        """Says whether W&B may yet serve what it claims and did not give."""
        heartbeat_at = progress.stored["heartbeat_at"]
        now = self._context.client.server_time or self._context.synced_at
        is_young = heartbeat_at is not None and now - heartbeat_at < SETTLED
        is_live = progress.stored["state"] in LIVE_STATES
        return not progress.is_rewritten and progress.ends_early and (is_live or is_young)

    async def _guard(self, progress: Reading, work: Any) -> None:
        try:
            await work
        except AuthenticationError:
            raise
        except HistoryRewrittenError:
            progress.is_rewritten = True
        except (*FAILURES, BudgetSpentError) as error:
            progress.error = error

    async def _ask_exports(self, batch: list[Reading]) -> None:
        """Asks, for all runs of a batch at once, what W&B has exported and what is live."""
        project = await self._ask("exports", [{"n": p.job.run.run_id} for p in batch])
        for index, progress in enumerate(batch):
            node = project.get(f"r{index}")
            if node is None:
                progress.error = ExtractError(
                    f"{progress.job.run}: W&B no longer shows this run; the next sync looks again"
                )
                continue
            keys = node.get("historyKeys") or {}
            exports = node.get("parquetHistory") or {}
            progress.history_keys = keys
            claimed_rows = node.get("historyLineCount")
            progress.is_claimed = claimed_rows is not None
            progress.claimed_rows = int(claimed_rows or 0)
            last_step = keys.get("lastStep")
            progress.claimed_last_step = None if last_step is None else int(last_step)
            progress.urls = list(exports.get("parquetUrls") or [])
            steps = [row.get("_step") for row in exports.get("liveData") or [] if row]
            numbers = [int(step) for step in steps if step is not None]
            if numbers:
                progress.first_live_step, progress.last_live_step = min(numbers), max(numbers)
            elif not progress.urls:
                progress.first_live_step = 0

    async def _ask(self, kind: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
        context = self._context
        variables = {
            "entity": context.project.entity,
            "project": context.project.project,
            **{f"{name}{i}": value for i, run in enumerate(runs) for name, value in run.items()},
        }
        data = await context.client.execute(run_batch_document(kind, len(runs)), variables)
        project = data.get("project")
        if project is None:
            raise ExtractError(f"{context.project}: W&B no longer shows this project")
        return dict(project)

    async def _read_exports(self, progress: Reading) -> None:
        """Downloads a run's exports and takes what is new in them."""
        if not progress.urls or progress.is_current or progress.way == "rows":
            return
        if progress.way == "more" and progress.is_live_from_here:
            return
        self._context.client.budget.allow_wait(0.0, requests=0)
        folder = Path(tempfile.mkdtemp(dir=self._context.scratch))
        try:
            paths = await self._download(progress, folder)
            batches = read_exports(paths, progress.job.run, held=progress.held)
            while True:
                batch = await asyncio.to_thread(next, batches, None)
                if batch is None:
                    break
                progress.sources.add("export")
                await self._take(progress, batch)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _download(self, progress: Reading, folder: Path) -> list[Path]:
        try:
            return await self._download_all(progress.urls, folder)
        except SignedUrlExpiredError:
            project = await self._ask("exports", [{"n": progress.job.run.run_id}])
            fresh = ((project.get("r0") or {}).get("parquetHistory") or {}).get("parquetUrls")
            return await self._download_all(list(fresh or []), folder)

    async def _download_all(self, urls: list[str], folder: Path) -> list[Path]:
        paths = [folder / f"{index}.parquet" for index in range(len(urls))]
        for url, path in zip(urls, paths, strict=True):
            await self._context.client.download(url, path)
        return paths

    async def _take(self, progress: Reading, batch: HistoryBatch) -> None:
        progress.take(batch)
        if progress.job.reset:
            staged = self._staged.setdefault(progress.job.run, Staged(self._context))
            await staged.add(batch)
        else:
            await self._writer.add(batch, progress.cursor())
        self._context.progress(
            HistoryFetched(run=str(progress.job.run), values=batch.cells, is_last=False)
        )

    async def _read_live(self, batch: list[Reading]) -> None:
        """Asks for the rows that are in no export."""
        windows: list[Window] = []
        for index, progress in enumerate(batch):
            ends = (progress.claimed_last_step, progress.last_live_step)
            last = max((step for step in ends if step is not None), default=None)
            first = progress.first_to_ask
            if last is not None and first is not None and progress.is_readable:
                windows += plan_windows(index, first, last, progress.claimed_rows)
        for group in pack_windows(windows):
            await self._read_windows(batch, group)

    async def _probe(self, batch: list[Reading]) -> None:
        """Asks for rows beyond the last one known, of runs of which rows are missing."""
        windows = [
            Window(
                index,
                0 if progress.last_step is None else progress.last_step + 1,
                NO_END,
                min(PROBE_ROWS, progress.claimed_rows - progress.rows + 1),
            )
            for index, progress in enumerate(batch)
            if progress.is_readable and progress.rows < progress.claimed_rows
        ]
        for group in pack_windows(windows):
            await self._read_windows(batch, group)

    async def _read_windows(self, batch: list[Reading], group: list[Window]) -> None:
        live = [w for w in group if batch[w.job].is_readable]
        if not live:
            return
        try:
            project = await self._ask(
                "rows",
                [
                    {
                        "n": batch[w.job].job.run.run_id,
                        "a": w.min_step,
                        "b": w.max_step,
                        "s": w.samples,
                    }
                    for w in live
                ],
            )
        except BudgetSpentError as error:
            for window in live:
                batch[window.job].error = error
            return
        except AuthenticationError:
            raise
        except FAILURES as error:
            await self._context.check_server(error)
            if len(live) == 1:
                narrower = live[0].halves()
                if len(narrower) == 1 or isinstance(error, TransportError):
                    batch[live[0].job].error = error
                    return
                parts: list[list[Window]] = [[w] for w in narrower]
            else:
                parts = [live[: len(live) // 2], live[len(live) // 2 :]]
            for part in parts:
                await self._read_windows(batch, part)
            return
        for index, window in enumerate(live):
            progress = batch[window.job]
            rows = (project.get(f"r{index}") or {}).get("history") or []
            if len(rows) >= window.samples:
                for narrower_window in narrowed(window, rows):
                    await self._read_windows(batch, [narrower_window])
                continue
            await self._guard(progress, self._take_rows(progress, rows, window.min_step))

    async def _take_rows(self, progress: Reading, rows: list[Any], first: int) -> None:
        """Takes the rows of a window from step `first` on."""
        held = progress.held
        batch = await asyncio.to_thread(
            rows_to_history,
            rows,
            progress.job.run,
            held=held,
            is_whole="export" not in progress.sources
            and held is not None
            and first <= held.last_step,
        )
        if batch.rows:
            progress.sources.add("rows")
            await self._take(progress, batch)

    async def _complete(self, progress: Reading) -> bool:
        """Commits, with the run's last values, that all W&B had was read.

        Returns:
            Whether that may be so; else what is held stays as it is, and the next sync asks again.
        """
        context, run = self._context, progress.job.run
        staged = self._staged.pop(run, None) or Staged(context)
        is_believed = progress.is_believable
        progress.is_complete = is_believed and not (progress.is_off and self._may_come(progress))
        if is_believed and progress.job.reset:
            await self._writer.replace(run, staged, progress.cursor())
        elif is_believed:
            empty = HistoryBatch(run, {}, rows=0, last_step=None)
            await self._writer.add(empty, progress.cursor())
        if progress.rows < progress.claimed_rows:
            context.skip(
                str(run),
                f"W&B claims {progress.claimed_rows} rows of history and gave {progress.rows}"
                + ("" if progress.is_complete else " so far; the next sync asks again"),
            )
        context.progress(HistoryFetched(run=str(run), values=0, is_last=True))
        return is_believed

    async def _finish(self) -> None:
        await self._writer.flush()
        await self._write_keys()

    async def _write_keys(self) -> None:
        """Writes history_keys of the runs that are done, once their values are committed."""
        done, self._done = self._done, []
        if not done:
            return
        await self._writer.flush()
        context = self._context
        await asyncio.to_thread(self._add_held, done)
        keys = [KeysOfRun(p.job.run, p.history_keys, p.stats, p.source) for p in done]
        await context.write(
            "history_keys",
            await asyncio.to_thread(build_history_keys, keys, context.synced_at),
            scope=run_scope([p.job.run for p in done]),
            metadata=Cursors.metadata({p.job.run: p.cursor() for p in done}),
        )

    def _add_held(self, done: list[Reading]) -> None:
        """Adds what was held before to the counts of runs that only grew."""
        context = self._context
        grown = {p.job.run.run_id: p for p in done if p.job.cursor is not None}
        if not grown:
            return
        is_trusted = {
            run_id: self._counted.get(run_id) == progress.job.cursor
            for run_id, progress in grown.items()
        }
        recount = [run_id for run_id, trusted in is_trusted.items() if not trusted]
        for run_id in recount:
            grown[run_id].stats = {}
        where = project_filter(context)
        held = context.lake.read(
            "history_keys",
            columns=["run_id", "key", "held_count", "last_step"],
            filters=[*where, ("run_id", "in", [r for r, ok in is_trusted.items() if ok])],
        ).to_pylist()
        if recount:
            rows = context.lake.read(
                "history",
                columns=["run_id", "key", "step"],
                filters=[*where, ("run_id", "in", recount)],
            )
            held += key_stats_of(rows).to_pylist()
        for row in held:
            stats = grown[row["run_id"]].stats
            add_stats(stats, row["key"], row["held_count"], row["last_step"])


def read_logged_at(context: Context, runs: list[str]) -> dict[str, float]:
    """Returns run id to the time of the last row, as the summary of a held run tells it."""
    if not runs:
        return {}
    rows = context.lake.read(
        "run_summary",
        columns=["run_id", "value"],
        filters=[*project_filter(context), ("key", "=", "_timestamp"), ("run_id", "in", runs)],
    ).to_pylist()
    return {row["run_id"]: row["value"] for row in rows if row["value"] is not None}
