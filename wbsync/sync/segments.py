"""Gathers history of many runs into segments, and commits them with their cursors."""

from __future__ import annotations

import asyncio
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

    async def add(self, batch: HistoryBatch, cursor: Cursor, *, reset: bool) -> None:
        """Takes a run's next batch; commits when a segment is full.

        Args:
            batch: Values of one run.
            cursor: How far the run is held once they are committed.
            reset: Whether they replace all that is held of the run.
        """
        async with self._turn:
            if reset:
                await self._commit()
                await self._write([batch], {batch.run: cursor}, scope=run_scope([batch.run]))
                return
            self._batches.append(batch)
            self._cursors[batch.run] = cursor
            self._cells += batch.cells + SLICE_CELLS * len(batch.slices)
            if self._cells >= SEGMENT_CELLS:
                await self._commit()

    async def flush(self) -> None:
        """Commits what is gathered."""
        async with self._turn:
            await self._commit()

    async def _commit(self) -> None:
        batches, self._batches = self._batches, []
        cursors, self._cursors = self._cursors, {}
        self._cells = 0
        if batches:
            await self._write(batches, cursors, scope=None)

    async def _write(
        self,
        batches: list[HistoryBatch],
        cursors: dict[RunPath, Cursor],
        *,
        scope: pa.Table | None,
    ) -> None:
        table = await asyncio.to_thread(merge_batches, batches, self._context.synced_at)
        await self._context.write("history", table, scope=scope, metadata=Cursors.metadata(cursors))
        self._context.tally.history_values += table.num_rows


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
