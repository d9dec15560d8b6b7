"""Accepts what was planned: the queue takes it, and the published tables show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.writeback.entries import Edit
from wbsync.writeback.overlay import show
from wbsync.writeback.plan import collector_at_rest
from wbsync.writeback.queue import Queue, server_of, who_am_i

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wbsync.writeback.plan import Plan


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of an edit."""

    plan: Plan
    """What it was about, and what it changes."""
    edit_id: str | None = None
    """The edit in the queue; None where nothing was queued."""
    queued: int = 0
    """Operations that were queued."""
    settled: int = 0
    """Conflicts that were settled, as they were to be set to what W&B holds."""

    def __repr__(self) -> str:
        done = "nothing queued" if self.edit_id is None else f"queued as {self.edit_id}"
        plan = self.plan
        return f"<Edited {plan.changed:,} of {plan.matched:,} {plan.kind}, {done}>"

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, for programs."""
        return {**self.plan.to_json(), "edit_id": self.edit_id, "queued": self.queued,
                "settled": self.settled}  # fmt: skip


def face_conflicts(root: Path, plan: Plan) -> None:
    """Has a plan show and replace the conflicts that wait where it changes something."""
    queue = Queue.held_by(root)
    if queue is not None:
        with queue:
            plan.face(queue.entries(("conflict",)))


def accept(
    root: Path,
    plan: Plan,
    *,
    origin: str,
    why: str = "",
    command: str = "",
    tell: Callable[[Edited], None] | None = None,
) -> Edited:
    """Queues the operations of a plan, all or none; what changes nothing is not queued.

    Args:
        root: Folder of the warehouse.
        plan: What was worked out.
        origin: Way in: cli, sql, import or python.
        why: What for.
        command: What was typed.
        tell: Told of the edit as soon as it is queued for good, before the tables show it.

    Raises:
        EditError: W&B would not take one of them.
        WritebackError: The queue cannot be written.
    """
    if not plan.steps and not plan.settling:
        return Edited(plan)
    edit = Edit(who_am_i(), why, origin, command, base_url=server_of(root))
    with collector_at_rest():
        with Queue(root) as queue:
            queued = queue.add(edit, plan.operations())
        edited = Edited(plan, edit.edit_id if queued else None, queued, len(plan.settling))
        if tell is not None:
            tell(edited)
        show(root)
    return edited
