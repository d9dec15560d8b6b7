"""Takes back what a push or an edit has done: the inverse operations, merged like any other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wbsync.errors import EditError
from wbsync.writeback.entries import Edit
from wbsync.writeback.operations import inverse, same
from wbsync.writeback.overlay import show

if TYPE_CHECKING:
    from wbsync.writeback.operations import Operation
    from wbsync.writeback.queue import Queue


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo has queued."""

    undoes: str
    edit_id: str | None
    """The edit that takes it back; None where nothing had to be."""
    queued: int
    """Inverse operations that were queued."""
    dropped: int
    """Operations that had not been pushed, and were taken out of the queue."""
    cannot: tuple[str, ...]
    """What W&B offers no way back for, in words."""


def undo(queue: Queue, which: str | None, who: str, *, why: str = "") -> Undone:
    """Queues what takes back an edit or a push.

    Operations that W&B held already when they were pushed are left: nobody has changed anything. So
    are those that were taken back before, with their edit or their push, unless that was undone.

    Args:
        queue: Where.
        which: Id of an edit or a push; None for the last push that has applied something.
        who: Who asks for it.
        why: What for.

    Raises:
        EditError: There is no such edit or push, or it was taken back already.
    """
    which = which or _last_push(queue)
    entries = queue.entries(edit_id=which) or queue.entries(push_id=which)
    if not entries:
        raise EditError(f"there is no edit or push {which}; see `wbsync queue log`")
    if any(entry.state == "sending" for entry in entries):
        raise EditError(f"of {which} it is unknown what arrived; push first, which finds out")
    is_edit = entries[0].edit.edit_id == which
    waiting = [e.op_id for e in entries if is_edit and e.state in {"pending", "conflict", "failed"}]
    taken_back = queue.taken_back()
    inverses: list[Operation] = []
    cannot: list[str] = []
    before: set[str] = set()
    for entry in reversed(entries):
        operation = entry.operation
        if entry.state != "applied" or same(entry.before, entry.after, operation.form):
            continue
        if entry.op_id in taken_back:
            before.add(taken_back[entry.op_id])
            continue
        try:
            undone = inverse(
                operation, entry.before, entry.after, entry.replaced, entry.made_from
            )  # fmt: skip
            inverses.append(replace(undone, takes_back=entry.op_id))
        except EditError as error:
            cannot.append(str(error))
    if before and not inverses and not waiting:
        raise EditError(f"{which} was taken back already, by edit {', '.join(sorted(before))}")
    edit = Edit(
        who, why or f"takes back {which}", "undo", f"wbsync undo {which}", undoes=which,
        base_url=entries[0].edit.base_url,
    )  # fmt: skip
    queued = queue.add(edit, inverses, dropping=waiting)
    show(queue.path.parent)
    return Undone(which, edit.edit_id if queued else None, queued, len(waiting), tuple(cannot))


def _last_push(queue: Queue) -> str:
    for push in queue.pushes():
        if push["applied"]:
            return str(push["push_id"])
    raise EditError("no push has changed anything yet")
