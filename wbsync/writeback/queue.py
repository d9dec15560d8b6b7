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
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wbsync.errors import EditError
from wbsync.writeback.checking import check
from wbsync.writeback.entries import (
    OPERATION_COLUMNS,
    Change,
    Edit,
    Entry,
    encode,
    to_row,
)
from wbsync.writeback.operations import Operation, apply, changes, same
from wbsync.writeback.queue_file import instant, move
from wbsync.writeback.trail import Trail

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from wbsync.writeback.operations import Slot


class Queue(Trail):
    """The queue of a warehouse; safe to share between threads and processes."""

    def add(
        self, edit: Edit, operations: Iterable[Operation], *, dropping: Collection[int] = ()
    ) -> int:
        """Accepts an edit: all of its operations that change something, or none at all.

        An operation that is based on what W&B was found to hold in a conflict takes the place of
        that conflict: whoever made it has seen what it writes over. One that would set what W&B
        holds is not queued, and settles the conflict all the same. An undo never does either.

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
        seen = wanted
        wanted = [operation for operation in seen if changes(operation)]
        if not seen and not dropping:
            return 0
        now = instant()
        with self._transaction() as connection:
            if dropping:
                self._drop(connection, dropping, f"taken back by {edit.edit_id}")
            if edit.undoes is None:
                self._replace_conflicts(connection, seen, edit, now)
            if not wanted:
                return 0
            connection.execute(
                "INSERT INTO edits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    edit.edit_id, edit.made_at.isoformat(), edit.who, edit.why, edit.origin,
                    edit.command, edit.undoes, edit.base_url,
                ),
            )  # fmt: skip
            columns = ", ".join(OPERATION_COLUMNS)
            marks = ", ".join("?" * len(OPERATION_COLUMNS))
            connection.executemany(
                f"INSERT INTO operations ({columns}) VALUES ({marks})",  # noqa: S608
                (to_row(operation, edit.edit_id, now) for operation in wanted),
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
                if not changes(operation):
                    reason = "settled by an edit to what W&B holds"
                move(connection, [Change(e.op_id, "dropped", reason) for e in waiting], now)

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
                (e.op_id, e.state, e.attempts, encode(e.operation.base)) for e in seen
            ]  # fmt: skip
            held = connection.execute(
                "SELECT count(*) FROM operations o JOIN json_each(?) s ON o.op_id = s.value ->> 0"
                " WHERE o.state = s.value ->> 1 AND o.attempts = s.value ->> 2"
                " AND o.base IS s.value ->> 3",
                (json.dumps(known),),
            ).fetchone()
            if held[0] != len(known):
                return False
            move(connection, changes, instant())
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
        now = instant()
        for entry in entries:
            # One after the other: what is built on several stands on the base of the first.
            self._rebase(connection, entry.op_id)
            move(connection, [Change(entry.op_id, "dropped", reason)], now)
        return len(entries)

    def _rebase(self, connection: sqlite3.Connection, dropped_id: int) -> None:
        """Gives what was built on an operation that goes the base of that, and so on."""
        (dropped,) = self._entries(connection, "o.op_id = ?", (dropped_id,))
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
        was, base = dropped.mine, operation.base
        for follower in later:
            if follower.operation.slot != operation.slot:
                continue
            if not same(follower.operation.base, was, operation.form):
                return
            connection.execute(
                "UPDATE operations SET base = ? WHERE op_id = ?", (encode(base), follower.op_id)
            )
            # What appends makes something else of another base, and others are built on that.
            was, base = follower.mine, apply(follower.operation, base)
            if same(was, base, operation.form):
                return

    def retry(self, op_ids: Collection[int]) -> int:
        """Has operations that failed or are in conflict pushed again; returns their number.

        Of one that may have arrived, the next push first finds out whether it has.
        """
        with self._transaction() as connection:
            entries = self._chosen(connection, op_ids, ("failed", "conflict"), "retried")
            now = datetime.now(UTC)
            for index, e in enumerate(entries):
                change = Change(
                    e.op_id, "sending", before=e.before, after=e.after, replaced=e.replaced,
                    made_from=e.made_from,
                ) if e.may_have_arrived else Change(e.op_id, "pending")  # fmt: skip
                # Each at an instant of its own: nobody knows any more what was sent with it, and
                # one is not to tell of another.
                move(connection, [change], (now + timedelta(microseconds=index)).isoformat())
        return len(entries)

    def note(self, reasons: Mapping[int, str]) -> None:
        """Writes down why operations that are on their way are not settled yet."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE operations SET error = ? WHERE op_id = ? AND state = 'sending'",
                [(reason, op_id) for op_id, reason in reasons.items()],
            )

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
                        (encode(shown[e.operation.slot]), e.op_id)
                        for e in entries
                        if e.operation.form != "set"
                    ],
                )
                move(connection, [Change(e.op_id, "pending") for e in entries], instant())
            else:
                reason = "resolved for what W&B holds"
                move(connection, [Change(e.op_id, "dropped", reason) for e in entries], instant())
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
                (push_id, instant()),
            )
        return push_id

    def end_push(self, push_id: str, outcome: str, requests: int) -> None:
        """Writes down how a push ended."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE pushes SET ended_at = ?, outcome = ?, requests = ? WHERE push_id = ?",
                (instant(), outcome, requests, push_id),
            )


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
