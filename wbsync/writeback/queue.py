"""The queue of edits: one SQLite file in the warehouse's folder, the only place where they are.

An edit is one accepted command: who made it, when and why, and its operations. Each operation is in
one of these states:

    pending    to be pushed; `error` says why the last push left it, if it did
    sending    a push has begun to send it; until the next push has asked, nobody knows what arrived
    applied    W&B holds it
    conflict   someone changed the same in W&B; `theirs` is what is there, and nothing was changed
    failed     W&B refuses it, or what it changes is gone; it is kept until it is dropped or retried
    dropped    taken out by hand, or resolved for theirs

What is accepted is committed with `synchronous=FULL`: it survives a power cut. Every change of
state is a line of the log.
"""

from __future__ import annotations

import getpass
import json
import sqlite3
import threading
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from wbsync.errors import EditError, WritebackError
from wbsync.lake import check_warehouse
from wbsync.writeback.checking import check
from wbsync.writeback.operations import MISSING, Operation, Target, apply, changes, same

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wbsync.writeback.operations import Slot

QUEUE_FILE = "queue.sqlite"
STATES = ("pending", "sending", "applied", "conflict", "failed", "dropped")
OPEN_STATES = ("pending", "sending")
"""What a push is about."""
LEFT_STATES = ("pending", "sending", "conflict", "failed")
"""What is not settled."""

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

_OPERATION_COLUMNS = (
    "edit_id", "kind", "entity", "project", "name", "storage_id", "created_at", "field", "path",
    "action", "value", "base", "restore", "restores_key", "state", "changed_at", "takes_back",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """One accepted command."""

    who: str
    """Who made it."""
    why: str = ""
    """What for; empty where nobody said."""
    origin: str = "python"
    """Way in: cli, sql, import, python or undo."""
    command: str = ""
    """What was typed, for the audit trail."""
    undoes: str | None = None
    """Edit or push that it takes back."""
    base_url: str | None = None
    """Server that it is made for; None, where nobody knows, until it is pushed to one."""
    edit_id: str = field(default_factory=lambda: f"e{uuid.uuid4().hex[:10]}")
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Entry:
    """An operation in the queue, and what became of it."""

    op_id: int
    edit: Edit
    operation: Operation
    state: str
    attempts: int
    """How often it was sent."""
    changed_at: datetime
    """When it came into this state."""
    error: str | None
    before: Any
    """Value that W&B held when it was sent; says something in sending and applied, and of what
    failed or is in conflict while it may still have arrived."""
    after: Any
    """Value that was to be there; says something where `before` does. Where it is the same as that,
    W&B held it already."""
    theirs: Any
    """Value that W&B holds; says something in conflict."""
    replaced: str | None
    """JSON text of the leaf that was replaced or taken away."""
    made_from: int | None
    """Keys of the path down to the first that was not there before; None where all were."""
    push_id: str | None
    """Push that touched it last."""

    @property
    def target(self) -> Target:
        """What it changes."""
        return self.operation.target

    @property
    def may_have_arrived(self) -> bool:
        """Whether it was sent, and W&B has not told what became of it."""
        known = (self.before, self.after) != (MISSING, MISSING)
        return self.state == "sending" or (self.state in {"failed", "conflict"} and known)

    @property
    def mine(self) -> Any:
        """Value that the operation makes of its base."""
        return apply(self.operation, self.operation.base)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values for programs; a value that is MISSING is left out."""
        facts: dict[str, Any] = {
            "op_id": self.op_id,
            "edit_id": self.edit.edit_id,
            "state": self.state,
            "operation": self.operation.to_json(),
            "who": self.edit.who,
            "why": self.edit.why,
            "origin": self.edit.origin,
            "base_url": self.edit.base_url,
            "made_at": self.edit.made_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
            "attempts": self.attempts,
            "error": self.error,
            "push_id": self.push_id,
        }
        told = {"sending": ("before", "after"), "applied": ("before", "after")}
        for name in told.get(self.state, ("theirs",) if self.state == "conflict" else ()):
            value = getattr(self, name)
            if value is not MISSING:
                facts[name] = json.loads(_encode(value) or "null", parse_constant=str)
        return facts


@dataclass(frozen=True, slots=True)
class Change:
    """A new state of an operation, with what is known of it; the rest stays as it is."""

    op_id: int
    state: str
    error: str | None = None
    before: Any = MISSING
    after: Any = MISSING
    theirs: Any = MISSING
    replaced: str | None = None
    made_from: int | None = None
    push_id: str | None = None


class Queue:
    """The queue of a warehouse; safe to share between threads and processes."""

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

    def add(
        self, edit: Edit, operations: Iterable[Operation], *, dropping: Collection[int] = ()
    ) -> int:
        """Accepts an edit: all of its operations that change something, or none at all.

        An operation that is based on what W&B was found to hold in a conflict takes the place of
        that conflict: whoever made it has seen what it writes over. An undo never does.

        Args:
            edit: Who made it, when and why.
            operations: Its operations, in the order in which they are to be applied; those of an
                undo are not checked: W&B has held what they bring back.
            dropping: Operations that are taken out with it, or not at all.

        Returns:
            The number of operations that were queued; of none, no edit is kept.

        Raises:
            EditError: W&B would not take one of them, or what is to be dropped may have arrived;
                nothing is queued.
        """
        wanted = list(operations)
        for operation in wanted if edit.undoes is None else ():
            check(operation)
        wanted = [operation for operation in wanted if changes(operation)]
        if not wanted and not dropping:
            return 0
        now = _now()
        with self._transaction() as connection:
            if dropping:
                self._drop(connection, dropping, f"taken back by {edit.edit_id}")
            if not wanted:
                return 0
            if edit.undoes is None:
                self._replace_conflicts(connection, wanted, edit, now)
            connection.execute(
                "INSERT INTO edits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    edit.edit_id, edit.made_at.isoformat(), edit.who, edit.why, edit.origin,
                    edit.command, edit.undoes, edit.base_url,
                ),
            )  # fmt: skip
            columns = ", ".join(_OPERATION_COLUMNS)
            marks = ", ".join("?" * len(_OPERATION_COLUMNS))
            connection.executemany(
                f"INSERT INTO operations ({columns}) VALUES ({marks})",  # noqa: S608
                (_row(operation, edit.edit_id, now) for operation in wanted),
            )
            connection.execute(
                "INSERT INTO log (at, op_id, to_state) SELECT ?, op_id, state FROM operations"
                " WHERE edit_id = ?",
                (now, edit.edit_id),
            )
        return len(wanted)

    def _replace_conflicts(
        self,
        connection: sqlite3.Connection,
        operations: Iterable[Operation],
        edit: Edit,
        now: str,
    ) -> None:
        """Drops the conflicts that operations are an answer to."""
        conflicts: dict[Slot, list[Entry]] = {}
        for entry in self._entries(connection, "o.state = 'conflict'", ()):
            if entry.operation.form != "set":
                conflicts.setdefault(entry.operation.slot, []).append(entry)
        if not conflicts:
            return
        for operation in operations:
            # Of several operations on one place, the first says what it was based on.
            waiting = conflicts.pop(operation.slot, None)
            if waiting and same(operation.base, waiting[-1].theirs, operation.form):
                reason = f"replaced by edit {edit.edit_id}"
                _move(connection, [Change(e.op_id, "dropped", reason) for e in waiting], now)

    def entries(
        self,
        states: Collection[str] = (),
        *,
        op_ids: Collection[int] = (),
        edit_id: str | None = None,
        push_id: str | None = None,
        kind: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        names: Collection[str] = (),
        field: str | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Returns operations, in the order in which they were queued; what is not named is any."""
        conditions, parameters = ["TRUE"], []
        for column, values in (("o.state", states), ("o.op_id", op_ids), ("o.name", names)):
            if values:
                # One parameter, whatever their number: SQLite limits how many there may be.
                conditions.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608
                parameters.append(json.dumps(list(values)))
        for column, value in (
            ("o.edit_id", edit_id), ("o.push_id", push_id), ("o.kind", kind), ("o.entity", entity),
            ("o.project", project), ("o.field", field),
        ):  # fmt: skip
            if value is not None:
                conditions.append(f"{column} = ?")
                parameters.append(value)
        where = " AND ".join(conditions)
        with self._lock:
            return self._entries(self._connection, where, parameters, limit)

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
            return [_entry(row, edits) for row in rows]

    def counts(self) -> dict[str, int]:
        """Returns the number of operations by state."""
        found = dict(self._select("SELECT state, count(*) FROM operations GROUP BY state"))
        return {state: found.get(state, 0) for state in STATES}

    def version(self) -> str:
        """Returns what changes with every operation that is added or changes its state.

        It is the first edit, which tells queues apart, and the last line of the log.
        """
        return str(
            self._select(
                "SELECT coalesce((SELECT edit_id FROM operations ORDER BY op_id LIMIT 1), '')"
                " || ':' || coalesce(max(line), 0) FROM log"
            )[0][0]
        )

    def rows(self, since: int = 0) -> list[tuple[Any, ...]]:
        """Returns operations as rows of the table edits; instants are ISO 8601 texts.

        Args:
            since: Line of the log after which they have changed; 0 for all.
        """
        changed = "o.op_id IN (SELECT op_id FROM log WHERE line > ?)" if since else "? = 0"
        return self._select(
            "SELECT o.op_id, o.edit_id, o.state, o.kind, o.entity, o.project, o.name, o.field,"  # noqa: S608
            " o.path, o.action, o.value, o.base, o.before, o.after, o.theirs, e.who, e.why,"
            " e.origin, e.command, e.made_at, o.changed_at, o.attempts, o.error, o.push_id,"
            f" e.undoes FROM operations o JOIN edits e USING (edit_id) WHERE {changed}"
            " ORDER BY o.op_id",
            (since,),
        )

    def trail(self, since: int = 0) -> list[tuple[Any, ...]]:
        """Returns lines of the log as rows of the table edit_log, those after one."""
        return self._select(
            "SELECT line, at, op_id, from_state, to_state, push_id, error FROM log WHERE line > ?"
            " ORDER BY line",
            (since,),
        )

    def changed_since(self, line: int) -> list[tuple[str, str, str, str]]:
        """Returns kind, entity, project and name of what operations have changed of since."""
        return self._select(
            "SELECT DISTINCT kind, entity, project, name FROM operations"
            " WHERE op_id IN (SELECT op_id FROM log WHERE line > ?)",
            (line,),
        )

    def in_force(self, since: int = 0) -> tuple[list[Entry], list[Entry]]:
        """Returns, of each place, the operation that W&B was last seen to hold; and those to push.

        Those of which a sync has read what came of them are left out, see `note_read`: a queue that
        has served for years is as fast as a new one.

        Args:
            since: Line of the log after which something has changed of what they change; 0 for
                all. Of artifacts it is all or nothing, as an alias goes from one to another.
        """
        touched = (
            "(o.kind, CASE o.kind WHEN 'artifact' THEN '' ELSE o.entity || '/' || o.project || '/'"
            " || o.name END) IN (SELECT kind, CASE kind WHEN 'artifact' THEN '' ELSE entity || '/'"
            " || project || '/' || name END FROM operations"
            " WHERE op_id IN (SELECT op_id FROM log WHERE line > ?))"
            if since
            else "? = 0"
        )
        with self._lock:
            applied = self._entries(
                self._connection, f"o.state = 'applied' AND o.is_read = 0 AND {touched}", (since,)
            )
            waiting = self._entries(
                self._connection, f"o.state IN ('pending', 'sending') AND {touched}", (since,)
            )
        last = {
            entry.operation.slot: entry
            for entry in sorted(applied, key=lambda e: (e.changed_at, e.op_id))
        }
        written_over = {e.op_id for e in applied} - {e.op_id for e in last.values()}
        self.note_read(written_over)
        return sorted(last.values(), key=lambda e: e.op_id), waiting

    def note_read(self, op_ids: Collection[int]) -> None:
        """Notes of applied operations that the warehouse holds what came of them or later ones."""
        if op_ids:
            with self._transaction() as connection:
                connection.execute(
                    "UPDATE operations SET is_read = 1 WHERE state = 'applied'"
                    " AND op_id IN (SELECT value FROM json_each(?))",
                    (json.dumps(sorted(op_ids)),),
                )

    def edits(self, *, limit: int | None = None) -> list[tuple[Edit, dict[str, int]]]:
        """Returns edits with the number of their operations by state, the newest first."""
        rows = self._select(
            "SELECT e.edit_id, e.made_at, e.who, e.why, e.origin, e.command, e.undoes,"
            " e.base_url, json_group_object(c.state, c.n)"
            " FROM edits e JOIN (SELECT edit_id, state, count(*) AS n FROM operations"
            " GROUP BY edit_id, state) c USING (edit_id)"
            " GROUP BY e.edit_id ORDER BY e.made_at DESC, e.edit_id LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return [
            (
                Edit(
                    who,
                    why,
                    origin,
                    command,
                    undoes,
                    base_url,
                    edit_id,
                    datetime.fromisoformat(made_at),
                ),
                json.loads(counts),
            )
            for edit_id, made_at, who, why, origin, command, undoes, base_url, counts in rows
        ]

    def taken_back(self) -> dict[int, str]:
        """Returns the operations of which an undo is in force, and its edit.

        It is not where it was dropped, or is itself taken back.
        """
        rows = self._select(
            "SELECT op_id, takes_back, edit_id FROM operations"
            " WHERE takes_back IS NOT NULL AND state <> 'dropped' ORDER BY op_id DESC"
        )
        found: dict[int, str] = {}
        for op_id, taken, edit_id in rows:
            # The latest first: what takes an undo back came after it.
            if op_id not in found:
                found[taken] = edit_id
        return found

    def transition(self, changes: Iterable[Change], seen: Iterable[Entry] = ()) -> bool:
        """Moves operations to other states, all or none; `sending` counts an attempt.

        Args:
            changes: The new states.
            seen: Operations as they were when this was decided.

        Returns:
            Whether they still were so. If not, nothing is moved: what was decided is out of date.
        """
        with self._transaction() as connection:
            known = [
                (e.op_id, e.state, e.attempts, _encode(e.operation.base)) for e in seen
            ]  # fmt: skip
            held = connection.execute(
                "SELECT count(*) FROM operations o JOIN json_each(?) s ON o.op_id = s.value ->> 0"
                " WHERE o.state = s.value ->> 1 AND o.attempts = s.value ->> 2"
                " AND o.base IS s.value ->> 3",
                (json.dumps(known),),
            ).fetchone()
            if held[0] != len(known):
                return False
            _move(connection, changes, _now())
        return True

    def drop(self, op_ids: Collection[int], reason: str = "dropped by hand") -> int:
        """Takes operations out that are not on their way; returns their number.

        What was built on one that is dropped is from then on based on what that was based on.

        Raises:
            EditError: One of them may have arrived already.
        """
        with self._transaction() as connection:
            return self._drop(connection, op_ids, reason)

    def _drop(self, connection: sqlite3.Connection, op_ids: Collection[int], reason: str) -> int:
        entries = self._chosen(connection, op_ids, ("pending", "conflict", "failed"), "dropped")
        for entry in entries:
            self._rebase(connection, entry)
        _move(connection, [Change(e.op_id, "dropped", reason) for e in entries], _now())
        return len(entries)

    def _rebase(self, connection: sqlite3.Connection, dropped: Entry) -> None:
        """Gives the next operation on the same place the base of one that goes."""
        target, operation = dropped.target, dropped.operation
        if operation.form == "set" or dropped.state != "pending":
            return
        # An alias is one place, whichever version of the collection has it.
        names = "? <> ''" if operation.form == "holder" else "o.name = ?"
        later = self._entries(
            connection,
            f"o.kind = ? AND o.entity = ? AND o.project = ? AND {names} AND o.field = ?"
            " AND o.path = ? AND o.op_id > ? AND o.state = 'pending'",
            (
                target.kind, target.entity, target.project, target.name, operation.field,
                json.dumps(operation.path), dropped.op_id,
            ),
        )  # fmt: skip
        follower = next((e for e in later if e.operation.slot == operation.slot), None)
        if follower and same(follower.operation.base, dropped.mine, operation.form):
            connection.execute(
                "UPDATE operations SET base = ? WHERE op_id = ?",
                (_encode(operation.base), follower.op_id),
            )

    def retry(self, op_ids: Collection[int]) -> int:
        """Has operations that failed or are in conflict pushed again; returns their number.

        Of one that may have arrived, the next push first finds out whether it has.
        """
        with self._transaction() as connection:
            entries = self._chosen(connection, op_ids, ("failed", "conflict"), "retried")
            changes = [
                Change(
                    e.op_id, "sending", before=e.before, after=e.after, replaced=e.replaced,
                    made_from=e.made_from,
                ) if e.may_have_arrived else Change(e.op_id, "pending")
                for e in entries
            ]  # fmt: skip
            _move(connection, changes, _now())
        return len(entries)

    def note(self, reasons: Mapping[int, str]) -> None:
        """Writes down why operations that are on their way are not settled yet."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE operations SET error = ? WHERE op_id = ? AND state = 'sending'",
                [(reason, op_id) for op_id, reason in reasons.items()],
            )

    def first_sent(self, op_id: int) -> datetime:
        """Returns when an operation that is on its way was sent first."""
        rows = self._select(
            "SELECT min(at) FROM log WHERE op_id = ?1 AND to_state = 'sending' AND line > coalesce("
            "(SELECT max(line) FROM log WHERE op_id = ?1 AND to_state = 'pending'), 0)",
            (op_id,),
        )
        return datetime.fromisoformat(rows[0][0])

    def resolve(self, op_ids: Collection[int], side: str) -> int:
        """Settles conflicts for one side; returns their number.

        Args:
            op_ids: Which.
            side: `mine` pushes the operation over the value that W&B was found to hold, and no
                other, several on one place in their order; `theirs` drops it.

        Raises:
            EditError: One of them is no conflict.
        """
        if side not in {"mine", "theirs"}:
            raise EditError(f"{side!r} is no side: mine or theirs")
        with self._transaction() as connection:
            entries = self._chosen(connection, op_ids, ("conflict",), "resolved")
            if side == "mine":
                # What a place was last found to hold is what was shown of it.
                shown = {e.operation.slot: e.theirs for e in entries}
                connection.executemany(
                    "UPDATE operations SET base = ? WHERE op_id = ?",
                    [
                        (_encode(shown[e.operation.slot]), e.op_id)
                        for e in entries
                        if e.operation.form != "set"
                    ],
                )
                _move(connection, [Change(e.op_id, "pending") for e in entries], _now())
            else:
                reason = "resolved for what W&B holds"
                _move(connection, [Change(e.op_id, "dropped", reason) for e in entries], _now())
        return len(entries)

    def _chosen(
        self,
        connection: sqlite3.Connection,
        op_ids: Collection[int],
        states: Sequence[str],
        verb: str,
    ) -> list[Entry]:
        """Returns operations that must be in one of some states."""
        entries = self._entries(
            connection,
            "o.op_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(op_ids)),),
        )
        unknown = set(op_ids) - {e.op_id for e in entries}
        if unknown:
            raise EditError(f"the queue holds no operation {min(unknown)}; see `wbsync queue list`")
        for entry in entries:
            if entry.state not in states:
                hint = "; push first, which finds out" if entry.state == "sending" else ""
                raise EditError(
                    f"operation {entry.op_id} is {entry.state} and cannot be {verb}{hint}"
                )
        return entries

    def bind(self, edit_ids: Collection[str], base_url: str) -> None:
        """Notes a server as that of edits of which nobody knew for which they were made."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE edits SET base_url = ? WHERE base_url IS NULL"
                " AND edit_id IN (SELECT value FROM json_each(?))",
                (base_url, json.dumps(sorted(edit_ids))),
            )

    def begin_push(self) -> str:
        """Returns the id of a push that begins."""
        push_id = f"p{uuid.uuid4().hex[:10]}"
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO pushes (push_id, started_at, outcome) VALUES (?, ?, 'unfinished')",
                (push_id, _now()),
            )
        return push_id

    def end_push(self, push_id: str, outcome: str, requests: int) -> None:
        """Writes down how a push ended."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE pushes SET ended_at = ?, outcome = ?, requests = ? WHERE push_id = ?",
                (_now(), outcome, requests, push_id),
            )

    def pushes(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Returns pushes, the newest first; instants are ISO 8601 texts."""
        rows = self._select(
            "SELECT push_id, started_at, ended_at, outcome, requests,"
            " (SELECT count(*) FROM operations o WHERE o.push_id = p.push_id"
            "  AND o.state = 'applied')"
            " FROM pushes p ORDER BY started_at DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        names = ("push_id", "started_at", "ended_at", "outcome", "requests", "applied")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def log(
        self, *, op_ids: Collection[int] = (), limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Returns the audit trail: every change of state, the newest last."""
        where, parameters = "TRUE", []
        if op_ids:
            where = "l.op_id IN (SELECT value FROM json_each(?))"
            parameters.append(json.dumps(list(op_ids)))
        rows = self._select(
            "SELECT * FROM (SELECT l.line, l.at, l.op_id, o.edit_id, e.who, l.from_state,"  # noqa: S608
            " l.to_state, l.push_id, l.error, o.kind, o.entity, o.project, o.name, o.field, o.path,"
            " o.action FROM log l JOIN operations o USING (op_id) JOIN edits e USING (edit_id)"
            f" WHERE {where} ORDER BY l.line DESC LIMIT ?) ORDER BY line",
            (*parameters, -1 if limit is None else limit),
        )
        names = (
            "line", "at", "op_id", "edit_id", "who", "from_state", "to_state", "push_id", "error",
            "kind", "entity", "project", "name", "field", "path", "action",
        )  # fmt: skip
        return [{**dict(zip(names, row, strict=True)), "path": json.loads(row[14])} for row in rows]


def server_of(root: Path) -> str | None:
    """Returns the server that a warehouse was last synced from, None where nobody knows."""
    from wbsync.state import State

    state = State(root / "state.sqlite")
    try:
        return state.last_host()
    finally:
        state.close()


def who_am_i() -> str:
    """Returns who makes edits on this machine: the login there."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _encode(value: Any) -> str | None:
    """Returns a value as it is kept: JSON with NaN, NULL for MISSING."""
    return None if value is MISSING else json.dumps(value)


def _decode(text: str | None) -> Any:
    return MISSING if text is None else json.loads(text)


def _row(operation: Operation, edit_id: str, now: str) -> tuple[Any, ...]:
    target = operation.target
    return (
        edit_id, target.kind, target.entity, target.project, target.name, target.storage_id,
        target.created_at, operation.field, json.dumps(operation.path), operation.action,
        _encode(operation.value), _encode(operation.base), operation.restore,
        operation.restores_key, "pending", now, operation.takes_back,
    )  # fmt: skip


def _entry(row: tuple[Any, ...], edits: dict[str, Edit]) -> Entry:
    edit_id = row[1]
    if edit_id not in edits:
        who, why, origin, command, undoes, base_url, made_at = row[26:]
        edits[edit_id] = Edit(
            who, why, origin, command, undoes, base_url, edit_id, datetime.fromisoformat(made_at)
        )
    operation = Operation(
        Target(*row[2:8]), row[8], row[10], _decode(row[11]), _decode(row[12]),
        tuple(json.loads(row[9])), row[13], bool(row[24]), row[25],
    )  # fmt: skip
    return Entry(
        row[0], edits[edit_id], operation, row[14], row[15], datetime.fromisoformat(row[16]),
        row[17], _decode(row[18]), _decode(row[19]), _decode(row[20]), row[21], row[22], row[23],
    )  # fmt: skip


def _move(connection: sqlite3.Connection, changes: Iterable[Change], now: str) -> None:
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
                c.state, now, c.error, _encode(c.before), _encode(c.after), _encode(c.theirs),
                c.replaced, c.made_from, c.push_id, c.op_id,
            )
            for c in changes
        ),
    )  # fmt: skip
