"""The big columns of runs: JSON that comes for many runs at once, when it is first looked at.

A first look takes few runs, as often no more are wanted; the next take thousands, so that going
through a long list costs a handful of reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.offline.reader import Reader

FIRST_RUNS = 100
BLOCK_RUNS = 5000

GROUPS = (("config", "summary"), ("config_raw", "system_summary"))
"""Columns that are read together."""

_QUERIES: dict[tuple[str, ...], str] = {
    group: f"SELECT run_id, {', '.join(group)} FROM runs"  # noqa: S608
    " WHERE entity = $entity AND project = $project AND run_id IN (SELECT unnest($runs))"
    for group in GROUPS
}


class Documents:
    """Config, summary and the like of runs of a project, as JSON text."""

    def __init__(self, reader: Reader, entity: str, project: str, runs: Sequence[str]) -> None:
        """Takes the runs, in the order in which they are likely to be looked at."""
        self._reader = reader
        self._path = {"entity": entity, "project": project}
        self._runs = runs
        self._read: dict[tuple[str, int], dict[str, str | None]] = {}

    def text(self, place: int, column: str) -> str | None:
        """Returns a column's JSON of the run at a place."""
        block = 0 if place < FIRST_RUNS else 1 + (place - FIRST_RUNS) // BLOCK_RUNS
        if (column, block) not in self._read:
            self._load(next(group for group in GROUPS if column in group), block)
        return self._read[column, block].get(self._runs[place])

    def _load(self, group: tuple[str, ...], block: int) -> None:
        start = 0 if block == 0 else FIRST_RUNS + (block - 1) * BLOCK_RUNS
        stop = FIRST_RUNS if block == 0 else start + BLOCK_RUNS
        found = self._reader.table(_QUERIES[group], **self._path, runs=list(self._runs[start:stop]))
        ids = found.column("run_id").to_pylist()
        for column in group:
            texts = found.column(column).to_pylist()
            self._read[column, block] = dict(zip(ids, texts, strict=True))
