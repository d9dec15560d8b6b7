"""Gathers history of many runs into segments, and commits them with their cursors."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from wbsync.extract.history import merge_batches
from wbsync.sync.cursors import Cursor, Cursors

if TYPE_CHECKING:
    import pyarrow as pa

    from wbsync.extract.history import HistoryBatch
    from wbsync.model import RunPath
    from wbsync.sync.context import Context

SEGMENT_CELLS = 1_000_000
"""Values gathered before a segment is committed: about 100 MB of Arrow at most."""

SLICE_CELLS = 50
"""What a key of a batch counts for beside its values: many short runs weigh by their arrays."""


class SegmentWriter:
    """Commits batches of history, in the order they come, several runs to a commit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._batches: list[HistoryBatch] = []
        self._cursors: dict[RunPath, Cursor] = {}
        self._cells = 0
        self._turn = asyncio.Lock()

    async def add(self, batch: HistoryBatch, cursor: Cursor) -> None:
        """Takes a run's next batch; commits when a segment is full.

        Args:
            batch: Values of one run.
            cursor: How far the run is held once they are committed.
        """
        async with self._turn:
            self._batches.append(batch)
            self._cursors[batch.run] = cursor
            self._cells += batch.cells + SLICE_CELLS * len(batch.slices)
            if self._cells >= SEGMENT_CELLS:
                await self._commit()

    async def flush(self) -> None:
        """Commits what is gathered."""
        async with self._turn:
            await self._commit()

    async def replace(self, run: RunPath, staged: Staged, cursor: Cursor) -> None:
        """Puts what was staged in the place of all that is held of a run, in one commit."""
        async with self._turn:
            await self._commit()
            tables = await staged.finish()
            await self._write(tables, {run: cursor}, scope=run_scope([run]))

    async def _commit(self) -> None:
        batches, self._batches = self._batches, []
        cursors, self._cursors = self._cursors, {}
        self._cells = 0
        if batches:
            table = await asyncio.to_thread(merge_batches, batches, self._context.synced_at)
            await self._write([table], cursors, scope=None)

    async def _write(
        self,
        tables: list[pa.Table],
        cursors: dict[RunPath, Cursor],
        *,
        scope: pa.Table | None,
    ) -> None:
        metadata = Cursors.metadata(cursors)
        await self._context.write("history", tables, scope=scope, metadata=metadata)
        self._context.tally.history_values += sum(table.num_rows for table in tables)


class Staged:
    """What is to take the place of all that is held of a run, gathered until all of it has come.

    What is held goes only then: a reader never sees half a run, and nothing is lost where the
    server breaks off. More than a segment of it waits in files.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._batches: list[HistoryBatch] = []
        self._cells = 0
        self._tables: list[pa.Table] = []

    async def add(self, batch: HistoryBatch) -> None:
        """Takes the next batch."""
        self._batches.append(batch)
        self._cells += batch.cells
        if self._cells >= SEGMENT_CELLS:
            await asyncio.to_thread(self._spill)

    async def finish(self) -> list[pa.Table]:
        """Returns what was taken as segments, an empty one for nothing."""
        last = await asyncio.to_thread(merge_batches, self._batches, self._context.synced_at)
        return [*self._tables, last] if last.num_rows or not self._tables else self._tables

    def _spill(self) -> None:
        import pyarrow as pa

        table = merge_batches(self._batches, self._context.synced_at)
        self._batches, self._cells = [], 0
        path = self._context.scratch / f"{uuid.uuid4().hex}.arrow"
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        self._tables.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        # Its room is free as soon as the table is; where that cannot be, the sync's end frees it.
        with suppress(OSError):
            path.unlink()


def run_scope(runs: list[RunPath]) -> pa.Table:
    """Returns the runs as a table of their key columns."""
    import pyarrow as pa

    return pa.table(
        {
            "entity": pa.array([r.entity for r in runs], pa.string()),
            "project": pa.array([r.project for r in runs], pa.string()),
            "run_id": pa.array([r.run_id for r in runs], pa.string()),
        }
    )
