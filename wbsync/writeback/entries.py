"""What stands in the queue: edits, their operations, what became of them, and how it is kept."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from wbsync.writeback.operations import MISSING, Operation, Target, apply

STATES = ("pending", "sending", "applied", "conflict", "failed", "dropped")
OPEN_STATES = ("pending", "sending")
"""What a push is about."""
LEFT_STATES = ("pending", "sending", "conflict", "failed")
"""What is not settled."""

OPERATION_COLUMNS = (
    "edit_id", "kind", "entity", "project", "name", "storage_id", "created_at", "field", "path",
    "action", "value", "base", "restore", "restores_key", "state", "changed_at", "takes_back",
)  # fmt: skip
"""Columns of an operation that is new, as `to_row` has them."""


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
                facts[name] = json.loads(encode(value) or "null", parse_constant=str)
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


def encode(value: Any) -> str | None:
    """Returns a value as it is kept: JSON with NaN, NULL for MISSING."""
    return None if value is MISSING else json.dumps(value)


def decode(text: str | None) -> Any:
    """Returns a value that `encode` has kept."""
    return MISSING if text is None else json.loads(text)


def to_row(operation: Operation, edit_id: str, now: str) -> tuple[Any, ...]:
    """Returns an operation that is new as it is kept, see OPERATION_COLUMNS."""
    target = operation.target
    return (
        edit_id, target.kind, target.entity, target.project, target.name, target.storage_id,
        target.created_at, operation.field, json.dumps(operation.path), operation.action,
        encode(operation.value), encode(operation.base), operation.restore,
        operation.restores_key, "pending", now, operation.takes_back,
    )  # fmt: skip


def from_row(row: tuple[Any, ...], edits: dict[str, Edit]) -> Entry:
    """Returns an operation as it was kept; `edits` are those that are known by now."""
    edit_id = row[1]
    if edit_id not in edits:
        who, why, origin, command, undoes, base_url, made_at = row[26:]
        edits[edit_id] = Edit(
            who, why, origin, command, undoes, base_url, edit_id, datetime.fromisoformat(made_at)
        )
    operation = Operation(
        Target(*row[2:8]), row[8], row[10], decode(row[11]), decode(row[12]),
        tuple(json.loads(row[9])), row[13], bool(row[24]), row[25],
    )  # fmt: skip
    return Entry(
        row[0], edits[edit_id], operation, row[14], row[15], datetime.fromisoformat(row[16]),
        row[17], decode(row[18]), decode(row[19]), decode(row[20]), row[21], row[22], row[23],
    )  # fmt: skip
