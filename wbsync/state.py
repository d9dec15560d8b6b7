"""What wbsync remembers beside the lake, in one SQLite file.

Cursors here are a cache of what the lake's commits say (`sync/cursors.py` replays newer commits
into it); the sync log, the runs set aside, walks that were stopped half way and what a host can do
live only here. WAL with `synchronous=FULL`: what was accepted survives a power cut.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wbsync.errors import WarehouseError, write_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursors (
    stream TEXT NOT NULL, entity TEXT NOT NULL, project TEXT NOT NULL, run_id TEXT NOT NULL,
    cursor TEXT NOT NULL,
    PRIMARY KEY (stream, entity, project, run_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replayed (
    table_name TEXT PRIMARY KEY, version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (
    stream TEXT NOT NULL, entity TEXT NOT NULL, project TEXT NOT NULL, versions TEXT NOT NULL,
    PRIMARY KEY (stream, entity, project)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs_set_aside (
    entity TEXT NOT NULL, project TEXT NOT NULL, run_id TEXT NOT NULL, stream TEXT NOT NULL,
    attempts INTEGER NOT NULL, reason TEXT NOT NULL, last_tried_at TEXT NOT NULL,
    PRIMARY KEY (entity, project, run_id, stream)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS walks (
    entity TEXT NOT NULL, project TEXT NOT NULL, position TEXT NOT NULL,
    PRIMARY KEY (entity, project)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    name TEXT NOT NULL, entity TEXT NOT NULL, project TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (name, entity, project)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hosts (base_url TEXT PRIMARY KEY, capabilities TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sync_log (
    sync_id TEXT NOT NULL, entity TEXT NOT NULL, project TEXT NOT NULL,
    started_at TEXT NOT NULL, ended_at TEXT, outcome TEXT NOT NULL,
    requests INTEGER NOT NULL, bytes_in INTEGER NOT NULL, runs_seen INTEGER NOT NULL,
    runs_changed INTEGER NOT NULL, history_rows INTEGER NOT NULL, skipped INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (sync_id, entity, project)
);
"""

SYNC_LOG_COLUMNS = (
    "sync_id", "entity", "project", "started_at", "ended_at", "outcome", "requests", "bytes_in",
    "runs_seen", "runs_changed", "history_rows", "skipped", "error",
)  # fmt: skip

RunKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A run that a stream could not take."""

    entity: str
    project: str
    run_id: str
    stream: str
    """First table of the stream."""
    attempts: int
    reason: str
    last_tried_at: datetime

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run_id}"


class State:
    """The SQLite file of a warehouse; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Opens the file, making it where it is missing.

        Raises:
            WarehouseError: It cannot be opened, or is not SQLite.
        """
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            advice = "check the disk and the folder's permissions"
            if getattr(error, "sqlite_errorcode", None) in {
                sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT,
            }:  # fmt: skip
                advice = "it is damaged: restore it from a copy, or move it away and sync again"
            raise WarehouseError(f"cannot open {path}: {write_problem(error)}; {advice}") from error

    @classmethod
    def copy_of(cls, path: Path, folder: Path) -> State:
        """Returns a copy that may be written without a trace in the original; empty for none.

        All that matters in it is derived from the lake's commits, so a copy that was torn by
        someone who writes at the same time is thrown away, and an empty one used.

        Args:
            path: The state's file, which need not exist.
            folder: An empty folder for the copy.
        """
        target = folder / path.name
        for suffix in ("", "-wal"):
            original = path.with_name(path.name + suffix)
            if original.is_file():
                shutil.copyfile(original, target.with_name(target.name + suffix))
        try:
            return cls(target)
        except WarehouseError:
            for leftover in folder.glob(f"{path.name}*"):
                leftover.unlink()
            return cls(target)

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator[State]:
        """Opens the file for who only reads, also where nobody may write.

        Raises:
            WarehouseError: It cannot be read, or is not SQLite.
        """
        with TemporaryDirectory(prefix="wbsync-state-") as folder:
            may_write = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
            state = cls(path) if may_write else cls.copy_of(path, Path(folder))
            with closing(state):
                yield state

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.Error as error:
                raise WarehouseError(
                    f"cannot write the warehouse's state: {write_problem(error)}; check the disk"
                ) from error

    def _select(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, closing(self._connection.execute(sql, parameters)) as rows:
            return rows.fetchall()

    def replayed_version(self, table: str) -> int | None:
        """Returns the version of a Delta table whose commits are in the cache up to."""
        rows = self._select("SELECT version FROM replayed WHERE table_name = ?", (table,))
        return int(rows[0][0]) if rows else None

    def replay(self, table: str, version: int, cursors: Iterable[tuple[str, RunKey, str]]) -> None:
        """Takes the cursors of commits up to `version` into the cache, in one transaction.

        Args:
            table: Delta table the commits belong to.
            version: Version reached.
            cursors: (stream, (entity, project, run_id), cursor as JSON), oldest first.
        """
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?)",
                ((stream, *run, cursor) for stream, run, cursor in cursors),
            )
            connection.execute("INSERT OR REPLACE INTO replayed VALUES (?, ?)", (table, version))

    def forget_cursors(self, table: str) -> None:
        """Drops a table's cursors, so that they are replayed from the first commit."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM cursors WHERE stream = ?", (table,))
            connection.execute("DELETE FROM replayed WHERE table_name = ?", (table,))

    def cursors(self, stream: str, entity: str, project: str) -> dict[str, str]:
        """Returns run id to cursor (JSON) for a project."""
        return dict(
            self._select(
                "SELECT run_id, cursor FROM cursors WHERE stream = ? AND entity = ? AND project = ?",  # noqa: E501
                (stream, entity, project),
            )
        )

    def settled_at(self, stream: str, entity: str, project: str) -> str | None:
        """Returns the versions of tables at which a stream last had nothing to do."""
        rows = self._select(
            "SELECT versions FROM settled WHERE stream = ? AND entity = ? AND project = ?",
            (stream, entity, project),
        )
        return str(rows[0][0]) if rows else None

    def settle(self, stream: str, entity: str, project: str, versions: str) -> None:
        """Keeps the versions of tables at which a stream has nothing to do."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO settled VALUES (?, ?, ?, ?)",
                (stream, entity, project, versions),
            )

    def unsettle(self, stream: str, entity: str, project: str) -> None:
        """Drops what `settle` kept."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM settled WHERE stream = ? AND entity = ? AND project = ?",
                (stream, entity, project),
            )

    def set_aside(self, run: RunKey, stream: str, reason: str, at: str) -> None:
        """Notes that a stream could not take a run."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO runs_set_aside VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET"
                " attempts = attempts + 1, reason = excluded.reason,"
                " last_tried_at = excluded.last_tried_at",
                (*run, stream, reason, at),
            )

    def take_back(self, runs: Iterable[RunKey], stream: str) -> None:
        """Notes that a stream has taken runs that were once set aside."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM runs_set_aside"
                " WHERE entity = ? AND project = ? AND run_id = ? AND stream = ?",
                ((*run, stream) for run in runs),
            )

    def runs_set_aside(self) -> list[SetAside]:
        """Returns the runs that streams could not take when they last tried."""
        rows = self._select("SELECT * FROM runs_set_aside ORDER BY 1, 2, 3, 4")
        return [
            SetAside(entity, project, run_id, stream, tries, why, datetime.fromisoformat(at))
            for entity, project, run_id, stream, tries, why, at in rows
        ]

    def keep_walk(self, entity: str, project: str, position: dict[str, Any]) -> None:
        """Keeps how far the walk over a project's runs has come."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO walks VALUES (?, ?, ?)",
                (entity, project, json.dumps(position)),
            )

    def walk(self, entity: str, project: str) -> dict[str, Any] | None:
        """Returns how far the last walk over a project's runs came, None where it ended."""
        rows = self._select(
            "SELECT position FROM walks WHERE entity = ? AND project = ?", (entity, project)
        )
        return dict(json.loads(rows[0][0])) if rows else None

    def forget_walk(self, entity: str, project: str) -> None:
        """Notes that the walk over a project's runs has come to its end."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM walks WHERE entity = ? AND project = ?", (entity, project)
            )

    def mark(self, name: str, entity: str, project: str) -> str | None:
        """Returns a note about a project that may be lost without harm."""
        rows = self._select(
            "SELECT value FROM marks WHERE name = ? AND entity = ? AND project = ?",
            (name, entity, project),
        )
        return rows[0][0] if rows else None

    def set_mark(self, name: str, entity: str, project: str, value: str) -> None:
        """Keeps a note about a project."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", (name, entity, project, value)
            )

    def move_project(self, entity: str, old: str, new: str) -> None:
        """Gives what is noted of a project, and of its runs, another name; a walk begins anew."""
        with self._transaction() as connection:
            for change in (
                "UPDATE OR REPLACE marks SET project = ? WHERE entity = ? AND project = ?",
                "UPDATE OR REPLACE runs_set_aside SET project = ? WHERE entity = ? AND project = ?",
            ):
                connection.execute(change, (new, entity, old))
            connection.execute(
                "DELETE FROM walks WHERE entity = ? AND project IN (?, ?)", (entity, old, new)
            )

    def forget_project(self, entity: str, project: str) -> None:
        """Drops what is noted of a project that is no more."""
        with self._transaction() as connection:
            for drop in (
                "DELETE FROM marks WHERE entity = ? AND project = ?",
                "DELETE FROM runs_set_aside WHERE entity = ? AND project = ?",
                "DELETE FROM walks WHERE entity = ? AND project = ?",
            ):
                connection.execute(drop, (entity, project))

    def capabilities(self, base_url: str) -> dict[str, Any]:
        """Returns what is known of a host, empty for an unknown one."""
        rows = self._select("SELECT capabilities FROM hosts WHERE base_url = ?", (base_url,))
        return dict(json.loads(rows[0][0])) if rows else {}

    def last_host(self) -> str | None:
        """Returns the base URL of the host that was last read from, None where none was."""
        rows = self._select("SELECT base_url FROM hosts ORDER BY rowid DESC LIMIT 1", ())
        return str(rows[0][0]) if rows else None

    def remember_capabilities(self, base_url: str, capabilities: dict[str, Any]) -> None:
        """Keeps what a host can do."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO hosts VALUES (?, ?)", (base_url, json.dumps(capabilities))
            )

    def log_sync(self, row: dict[str, Any]) -> None:
        """Writes a line of the sync log; the same sync and project replaces its line."""
        with self._transaction() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO sync_log VALUES ({', '.join('?' * len(SYNC_LOG_COLUMNS))})",  # noqa: E501, S608
                [row.get(name) for name in SYNC_LOG_COLUMNS],
            )

    def sync_log(self) -> list[dict[str, Any]]:
        """Returns the sync log, oldest first; instants are ISO 8601 texts."""
        rows = self._select("SELECT * FROM sync_log ORDER BY started_at, entity, project")
        return [dict(zip(SYNC_LOG_COLUMNS, row, strict=True)) for row in rows]
