"""What syncs vouch for: until when all runs of a project were read, table by table.

A sync that reads a table of all runs to its end leaves a mark. A run whose row is no newer than
that mark was there to be read: what lacks of it is lost. What lacks of others no sync has claimed
to have read. The marks are no part of the truth: without them, all that lacks counts as not read
yet.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wbsync.model import RunPath
    from wbsync.state import State
    from wbsync.sync.context import Context

MARK = "read_whole"
ENDED = frozenset({"complete", "partial"})
"""Outcomes of syncs that came to their end."""


def vouch(context: Context, tables: Iterable[str]) -> None:
    """Notes that tables were read to their end for all runs that the project holds."""
    place = (context.project.entity, context.project.project)
    if marks := dict.fromkeys(tables, context.synced_at.isoformat()):
        held = json.loads(context.state.mark(MARK, *place) or "{}")
        context.state.set_mark(MARK, *place, json.dumps(held | marks))


def last_outcomes(state: State) -> dict[tuple[str, str], str]:
    """Returns (entity, project) to how its last sync ended; one that was killed left no word."""
    return {(row["entity"], row["project"]): row["outcome"] for row in state.sync_log()}


class Vouched:
    """What the syncs of a warehouse vouch for."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._marks: dict[tuple[str, str], dict[str, datetime]] = {}
        self._outcomes = last_outcomes(state)

    def has_read(self, table: str, run: RunPath, written_at: datetime) -> bool:
        """Says whether a sync read a table to its end after a run's row was written.

        Args:
            table: Table with rows of runs.
            run: The run.
            written_at: When its row in the table runs was written.
        """
        place = (run.entity, run.project)
        if place not in self._marks:
            found = json.loads(self._state.mark(MARK, *place) or "{}")
            self._marks[place] = {t: datetime.fromisoformat(at) for t, at in found.items()}
        mark = self._marks[place].get(table)
        if written_at.tzinfo is None:
            written_at = written_at.replace(tzinfo=UTC)
        return mark is not None and written_at <= mark

    def was_cut_short(self, run: RunPath) -> bool:
        """Says whether the last sync of a run's project did not come to its end."""
        return self._outcomes.get((run.entity, run.project)) not in ENDED
