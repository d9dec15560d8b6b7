"""Keeps runs' console output in step with W&B, where it was asked for.

Lines come in pages of 1000, those of many runs in one request. While a run is live its last lines
may be written anew (progress bars are), so a later read begins at a page some lines before the last
one held; where those lines are still the same, only what follows them is committed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wbsync.errors import ApiError, ExtractError
from wbsync.extract.logs import build_log_rows, hash_of, parse_lines
from wbsync.sync.batches import ask_each, lacks
from wbsync.sync.cursors import Cursors
from wbsync.sync.inventory import project_variables
from wbsync.sync.log_plan import COLUMNS, LogCursor, Reading, plan_logs
from wbsync.sync.runs import count_held, read_index
from wbsync.sync.segments import run_scope

if TYPE_CHECKING:
    import pyarrow as pa

    from wbsync.api import Page
    from wbsync.extract.logs import Line
    from wbsync.model import RunPath
    from wbsync.sync.batches import Answer
    from wbsync.sync.context import Context

TABLE = "console_logs"
LINES_PER_REQUEST = 10_000
RUNS_PER_REQUEST = 100
COMMIT_LINES = 100_000

NO_LINES = "Run.logLines"
NO_CURSORS = "Run.logLines(useImprovedPagination:)"
"""Without this argument a server gives the same page for any cursor."""


async def sync_console_logs(context: Context) -> None:
    """Reads the console output of the runs that have, or may have, other than what is held."""
    reader = _Reader(context)
    pending = await asyncio.to_thread(_plan, context)
    try:
        while pending and not lacks(context, NO_LINES):
            batch = _batch(pending)
            pending = await reader.read(batch) + pending[len(batch) :]
    finally:
        await reader.commit()
    if pending:
        context.skip(f"{context.project} console output", "this server does not offer it")


def _plan(context: Context) -> list[Reading]:
    cursors, project = Cursors(context.lake, context.state, TABLE), context.project
    if cursors.is_settled(project, "runs"):
        return []
    cursors.catch_up()
    runs = read_index(context, COLUMNS)
    jobs = list(plan_logs(project, runs.values(), cursors.read(project, LogCursor)))
    if not jobs and len(runs) == count_held(context):
        cursors.settle(project, "runs")
    return jobs


def _batch(pending: list[Reading]) -> list[Reading]:
    """Returns the first of the runs: as many as one answer may hold."""
    count = lines = 0
    for reading in pending[:RUNS_PER_REQUEST]:
        lines += reading.expected
        if count and lines > LINES_PER_REQUEST:
            break
        count += 1
    return pending[:count]


class _Reader:
    """Asks for pages and commits what they hold, several runs to a commit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tables: list[pa.Table] = []
        self._cursors: dict[RunPath, LogCursor] = {}

    async def read(self, batch: list[Reading]) -> list[Reading]:
        """Takes a page of each run; returns the runs of which there is more to read."""
        context = self._context
        answers = await self._ask("run_logs", batch)
        if lacks(context, NO_LINES):
            return batch
        is_tail = lacks(context, NO_CURSORS)
        if is_tail:
            answers = await self._ask("run_log_tail", batch)
        unfinished: list[Reading] = []
        for reading, answer in zip(batch, answers, strict=True):
            after = reading.pager.cursor
            try:
                page = _page(reading, answer)
            except ApiError as error:
                if after is not None and not reading.window:
                    unfinished.append(reading.restarted())
                else:
                    context.set_aside(reading.run, error)
                continue
            lines = parse_lines(page.nodes, reading.next_line)
            if reading.reset and not lines and reading.stored["log_line_count"]:
                message = "W&B claims console output and gave none: what is held stays"
                context.set_aside(reading.run, ExtractError(message))
                continue
            if is_tail:
                self._say_what_is_missing(reading, lines)
            elif reading.is_elsewhere(lines):
                unfinished.append(reading.restarted())
                continue
            await self._take(reading, after, lines, has_next=page.has_next)
            if page.has_next:
                unfinished.append(reading)
        return unfinished

    async def _ask(self, template: str, batch: list[Reading]) -> list[Answer]:
        return await ask_each(
            self._context,
            template,
            [{"n": reading.run.run_id, "c": reading.pager.cursor} for reading in batch],
            shared=project_variables(self._context),
            find=lambda data: data.get("project"),
        )

    def _say_what_is_missing(self, reading: Reading, lines: list[Line]) -> None:
        held = reading.known.lines if reading.known is not None else 0
        if lines and lines[0].number > held:
            self._context.skip(
                str(reading.run),
                f"of its console output this server gives only line {lines[0].number} and after",
            )

    async def _take(
        self, reading: Reading, after: str | None, lines: list[Line], *, has_next: bool
    ) -> None:
        """Takes a page; the lines that are held already are written where they differ."""
        reading.note(after, lines)
        cursor = reading.cursor(is_complete=not has_next)
        known, overlap = reading.known, reading.overlap
        if known is None or overlap is None:
            scope = run_scope([reading.run]) if reading.reset else None
            reading.reset = False
            await self._write(reading, lines, cursor, scope)
            return
        overlap += lines
        if has_next and reading.next_line < known.lines:
            return
        reading.overlap = None
        old = [line for line in overlap if line.number < known.lines]
        first = overlap[0].number if overlap else known.resume_line
        if first == known.resume_line and hash_of(old) == known.tail_hash:
            new = [line for line in overlap if line.number >= known.lines]
            if new or cursor != known:
                await self._write(reading, new, cursor, None)
            return
        await self._write(reading, overlap, cursor, _line_scope(reading.run, first, known.lines))

    async def _write(
        self, reading: Reading, lines: list[Line], cursor: LogCursor, scope: pa.Table | None
    ) -> None:
        """Commits lines in the place of those that `scope` names, or soon, with those of others."""
        context = self._context
        rows = await asyncio.to_thread(build_log_rows, reading.run, lines, context.synced_at)
        if scope is not None:
            metadata = Cursors.metadata({reading.run: cursor})
            await context.write(TABLE, rows, scope=scope, metadata=metadata)
            return
        self._tables.append(rows)
        self._cursors[reading.run] = cursor
        if sum(table.num_rows for table in self._tables) >= COMMIT_LINES:
            await self.commit()

    async def commit(self) -> None:
        """Commits what is gathered."""
        import pyarrow as pa

        tables, self._tables = self._tables, []
        cursors, self._cursors = self._cursors, {}
        if not cursors:
            return
        order = [("run_id", "ascending"), ("number", "ascending")]
        rows = await asyncio.to_thread(lambda: pa.concat_tables(tables).sort_by(order))
        await self._context.write(TABLE, rows, metadata=Cursors.metadata(cursors))


def _page(reading: Reading, answer: Answer) -> Page:
    if isinstance(answer, ApiError):
        raise answer
    return reading.pager.take((answer or {}).get("logLines"))


def _line_scope(run: RunPath, first: int, end: int) -> pa.Table:
    """Returns the lines from `first` up to, without, `end` as a table of their key columns."""
    import pyarrow as pa

    numbers = pa.array(range(first, max(first, end)), pa.int64())
    runs = run_scope([run] * len(numbers))
    return runs.append_column("number", numbers)
