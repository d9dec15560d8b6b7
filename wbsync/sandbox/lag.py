"""The index behind filtered lists of runs, which may show what was written only later."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from wbsync.sandbox.store import Store


class LaggingIndex:
    """Runs as they were some time ago."""

    def __init__(self) -> None:
        self._seen: dict[int, sqlite3.Row] = {}
        """Runs as they are."""
        self._shown: dict[int, sqlite3.Row] = {}
        """Runs as filters see them."""
        self._due: list[tuple[float, int, sqlite3.Row]] = []

    def watch(self, store: Store, at_s: float, lag_s: float) -> None:
        """Notes what has been written since the last call, and shows what is due.

        Args:
            store: Where the runs are.
            at_s: The server's clock.
            lag_s: How much later a write is to show.
        """
        rows = {row["pk"]: row for row in store.rows("SELECT * FROM runs")}
        for pk, row in rows.items():
            if tuple(self._seen.get(pk, ())) != tuple(row):
                self._due.append((at_s + lag_s, pk, row))
        self._seen = rows
        for due_s, pk, row in self._due:
            if due_s <= at_s:
                self._shown[pk] = row
        self._due = [entry for entry in self._due if entry[0] > at_s]

    def rows(self, rows: Iterable[sqlite3.Row]) -> list[sqlite3.Row]:
        """Returns runs as filters see them; those that are too new are not among them."""
        return [self._shown[row["pk"]] for row in rows if row["pk"] in self._shown]
