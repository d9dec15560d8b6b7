"""What shows a write only later: the index behind filtered lists of runs, and a read replica."""

from __future__ import annotations

from collections import deque
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


class Replica:
    """The whole store as it was some time ago: what queries are answered from, but no mutation."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Store]] = deque()
        """When something was written, and the store as it was before."""

    def keep(self, store: Store, at_s: float) -> None:
        """Keeps the store as it is, before something is written."""
        self._kept.append((at_s, store.snapshot()))

    def at(self, store: Store, at_s: float) -> Store:
        """Returns the store as it was at an instant; what is older is not needed again."""
        while self._kept and self._kept[0][0] <= at_s:
            self._kept.popleft()[1].close()
        return self._kept[0][1] if self._kept else store
