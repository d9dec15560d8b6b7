"""Marks that spare an unchanged sync from looking at each run.

What a stream reads of runs follows from tables alone: the rows of runs, and the cursors that stand
in commits. While the versions of these tables are what they were when nothing was to be read,
nothing is. Such a mark is kept beside the lake and may be lost without harm; whatever changes a row
or a cursor makes a commit, and so makes it void.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbsync.sync.runs import count_held

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Sized

    from wbsync.sync.context import Context
    from wbsync.sync.cursors import Cursors
    from wbsync.sync.plan import HistoryJob, Stored

HISTORY_SOURCES = ("runs", "run_summary", "history_keys")
"""Tables that, beside its own cursors, decide which runs' history is read."""

EVENT_SOURCES = ("runs", "history")
"""Tables that, beside their own cursors, decide which runs' system metrics are read."""


def of_jobs(
    runs: Mapping[str, Stored], jobs: Sequence[HistoryJob] | None
) -> Mapping[str, Stored]:  # fmt: skip
    """Returns the runs of some jobs; all for None."""
    return runs if jobs is None else {j.run.run_id: runs[j.run.run_id] for j in jobs}


def settle(
    context: Context, cursors: Cursors, runs: Mapping[str, Stored], left: Sized, *sources: str
) -> None:
    """Leaves the mark, unless something is left or some held runs were not looked at.

    Args:
        context: The project's sync.
        cursors: The cursors of the stream.
        runs: Runs that were looked at; some are not where the sync is about others, or they rest.
        left: What is still to be read.
        sources: Tables that decide, beside the cursors.
    """
    if not left and len(runs) == count_held(context):
        cursors.settle(context.project, *sources)
