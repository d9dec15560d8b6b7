"""Takes back what a push or an edit has done: the inverse operations, merged like any other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wbsync.errors import EditError
from wbsync.writeback.entries import Edit
from wbsync.writeback.operations import apply, inverse, same
from wbsync.writeback.overlay import show
from wbsync.writeback.plan import SAMPLES, Sample

if TYPE_CHECKING:
    from wbsync.writeback.operations import Operation
    from wbsync.writeback.queue import Queue


@dataclass(frozen=True, slots=True)
class Undoing:
    """What an undo would do."""

    undoes: str
    inverses: tuple[Operation, ...]
    waiting: tuple[int, ...]
    """Operations that were not pushed, which are dropped."""
    cannot: tuple[str, ...]
    """What W&B offers no way back for, in words."""
    base_url: str | None = None

    @property
    def changed(self) -> int:
        """Things to which inverse operations are queued."""
        return len({operation.target.key for operation in self.inverses})

    def counts(self) -> list[tuple[str, str, int]]:
        """Returns (place, what is done, how often), in the order in which they first come."""
        found = Counter((o.label, o.action) for o in self.inverses)
        return [(label, action, count) for (label, action), count in found.items()]

    def samples(self, count: int = SAMPLES) -> list[Sample]:
        """Returns some of the changes."""
        return [
            Sample(str(o.target), o.label, o.base, apply(o, o.base)) for o in self.inverses[:count]
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, for programs."""
        return {
            "undoes": self.undoes,
            "operations": len(self.inverses),
            "waiting": len(self.waiting),
            "cannot": list(self.cannot),
            "changes": [
                {"field": label, "action": action, "count": count}
                for label, action, count in self.counts()
            ],
            "samples": [sample.to_json() for sample in self.samples()],
        }


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo has queued."""

    plan: Undoing
    edit_id: str | None = None
    """The edit that takes it back; None where nothing had to be."""
    queued: int = 0
    """Inverse operations that were queued."""
    dropped: int = 0
    """Operations that had not been pushed, and were taken out of the queue."""

    @property
    def undoes(self) -> str:
        """The push or the edit that is taken back."""
        return self.plan.undoes

    @property
    def cannot(self) -> tuple[str, ...]:
        """What W&B offers no way back for, in words."""
        return self.plan.cannot

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, for programs."""
        return {**self.plan.to_json(), "edit_id": self.edit_id, "queued": self.queued,
                "dropped": self.dropped}  # fmt: skip


def undo(queue: Queue, which: str | None, who: str, *, why: str = "") -> Undone:
    """Queues what takes back an edit or a push.

    Args:
        queue: Where.
        which: Id of an edit or a push; None for the last push that has applied something.
        who: Who asks for it.
        why: What for.

    Raises:
        EditError: See `plan_undo`.
    """
    plan = plan_undo(queue, which)
    edit = Edit(
        who, why or f"takes back {plan.undoes}", "undo", f"wbsync undo {plan.undoes}",
        undoes=plan.undoes, base_url=plan.base_url,
    )  # fmt: skip
    queued = queue.add(edit, plan.inverses, dropping=plan.waiting)
    show(queue.path.parent)
    return Undone(plan, edit.edit_id if queued else None, queued, len(plan.waiting))


def plan_undo(queue: Queue, which: str | None) -> Undoing:
    """Works out what takes back an edit or a push.

    Operations that W&B held already when they were pushed are left: nobody has changed anything. So
    are those that were taken back before, with their edit or their push, unless that was undone.

    Args:
        queue: Where.
        which: Id of an edit or a push; None for the last push that has applied something.

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
    return Undoing(
        which, tuple(inverses), tuple(waiting), tuple(cannot), entries[0].edit.base_url
    )  # fmt: skip


def _last_push(queue: Queue) -> str:
    for push in queue.pushes():
        if push["applied"]:
            return str(push["push_id"])
    raise EditError("no push has changed anything yet")
