"""What the queue tells: what is in force, what has changed, who did what, what came of it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wbsync.writeback.entries import STATES, Edit
from wbsync.writeback.queue_file import QueueFile

if TYPE_CHECKING:
    from collections.abc import Collection

    from wbsync.writeback.entries import Entry


class Trail(QueueFile):
    """The queue as those see it who only look."""

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

    def first_sent(self, op_id: int) -> datetime:
        """Returns when an operation that is on its way was sent first."""
        rows = self._select(
            "SELECT min(at) FROM log WHERE op_id = ?1 AND to_state = 'sending' AND line > coalesce("
            "(SELECT max(line) FROM log WHERE op_id = ?1 AND to_state = 'pending'), 0)",
            (op_id,),
        )
        return datetime.fromisoformat(rows[0][0])

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
