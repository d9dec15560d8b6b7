"""The file of the queue: its tables, transactions, and how operations are read and moved."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from wbsync.errors import WritebackError
from wbsync.lake import check_warehouse
from wbsync.writeback.entries import encode, from_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from wbsync.writeback.entries import Change, Edit, Entry

QUEUE_FILE = "queue.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS edits (
    edit_id TEXT PRIMARY KEY, made_at TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL,
    origin TEXT NOT NULL, command TEXT NOT NULL, undoes TEXT, base_url TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS operations (
    op_id INTEGER PRIMARY KEY AUTOINCREMENT, edit_id TEXT NOT NULL, kind TEXT NOT NULL,
    entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, storage_id TEXT,
    created_at TEXT, field TEXT NOT NULL, path TEXT NOT NULL, action TEXT NOT NULL,
    value TEXT, base TEXT, restore TEXT, restores_key INTEGER NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, changed_at TEXT NOT NULL,
    error TEXT, before TEXT, after TEXT, theirs TEXT, replaced TEXT, made_from INTEGER,
    push_id TEXT, takes_back INTEGER, is_read INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS operations_by_state ON operations (state);
CREATE INDEX IF NOT EXISTS operations_by_target ON operations (kind, entity, project, name);
CREATE INDEX IF NOT EXISTS operations_by_edit ON operations (edit_id);
CREATE INDEX IF NOT EXISTS operations_by_push ON operations (push_id);
CREATE TABLE IF NOT EXISTS pushes (
    push_id TEXT PRIMARY KEY, started_at TEXT NOT NULL, ended_at TEXT, outcome TEXT NOT NULL,
    requests INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    line INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, op_id INTEGER NOT NULL,
    from_state TEXT, to_state TEXT NOT NULL, push_id TEXT, error TEXT
);
"""
_LATER_COLUMNS = {"takes_back": "INTEGER", "is_read": "INTEGER NOT NULL DEFAULT 0"}
"""Columns of operations that queues of earlier versions lack."""
_IN_FORCE = (
    "CREATE INDEX IF NOT EXISTS operations_in_force ON operations (kind, entity, project, name)"
    " WHERE state = 'applied' AND is_read = 0"
)


class QueueFile:
    """The file; safe to share between threads and processes."""

    def __init__(self, root: Path) -> None:
        """Opens the queue, making it where there is none.

        Raises:
            WarehouseError: The folder is no warehouse.
            WritebackError: The file cannot be opened.
        """
        check_warehouse(root)
        self.path = root / QUEUE_FILE
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(self.path, check_same_thread=False, timeout=60)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
            self._bring_up_to_date()
        except sqlite3.Error as error:
            raise WritebackError(
                f"cannot open {self.path}: {error}; check the disk and the folder's permissions"
            ) from error

    def _bring_up_to_date(self) -> None:
        """Adds what queues of earlier versions lack."""
        held = {row[0] for row in self._select("SELECT name FROM pragma_table_info('operations')")}
        for column in _LATER_COLUMNS.keys() - held:
            with self._transaction() as connection:
                kind = _LATER_COLUMNS[column]
                connection.execute(f"ALTER TABLE operations ADD COLUMN {column} {kind}")
        self._connection.execute(_IN_FORCE)

    @classmethod
    def held_by(cls, root: Path) -> Self | None:
        """Returns the queue of a warehouse where something was ever queued, else None."""
        return cls(root) if (root / QUEUE_FILE).is_file() else None

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield self._connection
            except sqlite3.Error as error:
                raise WritebackError(
                    f"cannot write {self.path}: {error}; check the disk"
                ) from error

    def _select(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, closing(self._connection.execute(sql, parameters)) as rows:
            return rows.fetchall()

    def _entries(
        self,
        connection: sqlite3.Connection,
        where: str,
        parameters: Sequence[Any],
        limit: int | None = None,
    ) -> list[Entry]:
        edits: dict[str, Edit] = {}
        with closing(
            connection.execute(
                "SELECT o.op_id, o.edit_id, o.kind, o.entity, o.project, o.name, o.storage_id,"  # noqa: S608
                " o.created_at, o.field, o.path, o.action, o.value, o.base, o.restore, o.state,"
                " o.attempts, o.changed_at, o.error, o.before, o.after, o.theirs, o.replaced,"
                " o.made_from, o.push_id, o.restores_key, o.takes_back, e.who, e.why, e.origin,"
                " e.command, e.undoes, e.base_url, e.made_at"
                f" FROM operations o JOIN edits e USING (edit_id) WHERE {where} ORDER BY o.op_id"
                " LIMIT ?",
                (*parameters, -1 if limit is None else limit),
            )
        ) as rows:
            return [from_row(row, edits) for row in rows]


def move(connection: sqlite3.Connection, changes: Iterable[Change], now: str) -> None:
    """Writes new states and the log's lines of them."""
    changes = list(changes)
    connection.executemany(
        "INSERT INTO log (at, op_id, from_state, to_state, push_id, error)"
        " SELECT ?, op_id, state, ?, ?, ? FROM operations WHERE op_id = ?",
        ((now, c.state, c.push_id, c.error, c.op_id) for c in changes),
    )
    connection.executemany(
        "UPDATE operations SET state = ?1, changed_at = ?2, error = ?3, before = ?4, after = ?5,"
        " theirs = ?6, replaced = ?7, made_from = ?8, push_id = coalesce(?9, push_id), is_read = 0,"
        " attempts = attempts + (?1 = 'sending' AND state IN ('pending', 'sending'))"
        " WHERE op_id = ?10",
        (
            (
                c.state, now, c.error, encode(c.before), encode(c.after), encode(c.theirs),
                c.replaced, c.made_from, c.push_id, c.op_id,
            )
            for c in changes
        ),
    )  # fmt: skip


def instant() -> str:
    """Returns this moment as it is kept."""
    return datetime.now(UTC).isoformat()
