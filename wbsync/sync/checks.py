"""Checks the history that is held against W&B, run by run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wbsync.extract.history import claimed_values
from wbsync.model import RunPath
from wbsync.progress import Drift
from wbsync.sync.context import project_filter
from wbsync.sync.cursors import Cursors
from wbsync.sync.drift import WHOLE_ROW
from wbsync.sync.history import HistorySync
from wbsync.sync.plan import HistoryJob

if TYPE_CHECKING:
    from wbsync.sync.context import Context
    from wbsync.sync.cursors import Cursor
    from wbsync.sync.plan import Stored
    from wbsync.sync.reading import Reading

Digests = dict[str, tuple[int, int]]
"""Run id to number and hash of the values held."""


class HistoryCheck(HistorySync):
    """Reads anew the history of all runs but those that W&B's own counts prove to be whole."""

    def __init__(self, context: Context, runs: dict[str, Stored]) -> None:
        super().__init__(context, runs)
        self._before: Digests = {}
        self._cursors: dict[str, Cursor] = {}
        self._checked: dict[str, tuple[int, int | None]] = {}
        """Runs that are read anew, with what W&B claims of them."""

    async def check(self) -> None:
        """Checks all runs; where other values come than are held, the report says so."""
        context = self._context
        history = Cursors(context.lake, context.state, "history")
        history.catch_up()
        self._cursors = history.of_project(context.project)
        self._before = await asyncio.to_thread(self._digests)
        await self.run(
            [
                HistoryJob(
                    RunPath(context.project.entity, context.project.project, run_id),
                    None,
                    reset=True,
                    timeline=self._cursors[run_id].timeline + 1,
                    floor=self._cursors[run_id].rows,
                )
                for run_id, run in self._runs.items()
                if run_id in self._cursors and run["deleted_at"] is None
            ]
        )
        if not self._checked:
            return
        after = await asyncio.to_thread(self._digests)
        context.tally.drift += [
            Drift("history", f"{context.project}/{run_id}", WHOLE_ROW)
            for run_id, claims in self._checked.items()
            if claims == self._claims(run_id) and self._before.get(run_id) != after.get(run_id)
        ]

    def _claims(self, run_id: str) -> tuple[int | None, int | None]:
        cursor = self._cursors[run_id]
        return cursor.claimed_rows, cursor.claimed_last_step

    def _digests(self) -> Digests:
        return self._context.lake.digests(
            "history",
            "run_id",
            ["key", "step", "row", "value", "json"],
            project_filter(self._context),
        )

    def wanted(self, batch: list[Reading]) -> list[Reading]:
        """Returns the runs of which more, fewer or other values may be held than W&B counts."""
        unproven = []
        for reading in batch:
            run_id = reading.job.run.run_id
            cursor = self._cursors[run_id]
            claims = (reading.claimed_rows, reading.claimed_last_step)
            count = self._before.get(run_id, (0, 0))[0]
            is_proven = (cursor.rows, cursor.last_step) == claims and count == claimed_values(
                reading.history_keys
            )
            if reading.error is not None or not is_proven:
                self._checked[run_id] = claims
                unproven.append(reading)
        return unproven
