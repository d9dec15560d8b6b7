"""Edits as operations on fields: what may be changed, and what it makes of a value.

An operation changes one field of one thing in W&B, or one leaf of a field that is JSON, and carries
the value that it was based on. What the value of a field is depends on the field:

    tags                          a list of texts, without order
    notes, description and names  a text; none and the empty text are the same
    config, summary, metadata     the leaf at `path`, MISSING where there is none
    aliases                       the id of the version that has the alias `path[0]`; None for none
    state                         the run's state
    stop                          whether the run was asked to stop
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from wbsync.errors import EditError
from wbsync.extract.values import finite
from wbsync.model import NON_FINITE

if TYPE_CHECKING:
    from collections.abc import Mapping


class Missing(Enum):
    """Says that there is no value, where None is one."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING

Slot = tuple[Any, ...]

KINDS = ("run", "artifact", "artifact_collection")
ACTIONS = ("add", "remove", "set", "append", "unset")

MAX_METADATA_KEYS = 100
MAX_VALUE_BYTES = 10_000_000
ENDED_STATES = frozenset({"finished", "crashed", "failed", "killed"})
"""States of a run whose process is gone; that of any other may write config and summary anew."""
SETTABLE_STATES = {
    "pending": frozenset({"running", "failed", "crashed", "preempted"}),
    "failed": frozenset({"pending", "running"}),
}
"""State that a run may be set to, and from which; of sweeps' runs none. As the SDK's docs say."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that may be changed."""

    form: str
    """What its value is: set, text, leaf, holder or flag."""
    actions: tuple[str, ...]


_SET = Field("set", ("add", "remove", "set"))
_TEXT = Field("text", ("set",))
_LEAF = Field("leaf", ("set", "unset"))

FIELDS: Mapping[tuple[str, str], Field] = {
    ("run", "tags"): _SET,
    ("run", "notes"): Field("text", ("set", "append")),
    ("run", "display_name"): _TEXT,
    ("run", "group"): _TEXT,
    ("run", "job_type"): _TEXT,
    ("run", "config"): _LEAF,
    ("run", "summary"): _LEAF,
    ("run", "state"): Field("flag", ("set",)),
    ("run", "stop"): Field("flag", ("set",)),
    ("artifact", "aliases"): Field("holder", ("add", "remove")),
    ("artifact", "tags"): _SET,
    ("artifact", "description"): _TEXT,
    ("artifact", "metadata"): _LEAF,
    ("artifact_collection", "tags"): _SET,
    ("artifact_collection", "description"): _TEXT,
}
"""(kind of thing, field) to what may be done to it."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What an operation changes."""

    kind: str
    """run, artifact or artifact_collection."""
    entity: str
    project: str
    name: str
    """Run id; `collection:v3`; collection. An alias stands in the collection that is named."""
    storage_id: str | None = None
    """W&B's id: runs.storage_id, artifacts.artifact_id, artifact_collections.collection_id."""
    created_at: str | None = None
    """When it was created, ISO 8601: a run that was deleted and made anew is another one."""

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others: kind, entity, project, and its name; of a version its id.

        An undo gives an alias back to a version of which nobody knows more than the id.
        """
        name = self.storage_id if self.kind == "artifact" else None
        return (self.kind, self.entity, self.project, name or self.name)

    @property
    def collection(self) -> str:
        """The collection in which a version stands."""
        return self.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Operation:
    """A change of one field, or of one leaf in it.

    `check` says whether W&B would take it; `apply` and `inverse` what it does and what undoes it.
    """

    target: Target
    field: str
    """See FIELDS."""
    action: str
    """add or remove (one tag, one alias), set, append (to notes, as it is), unset (a leaf)."""
    value: Any = MISSING
    """The tag or alias; what to set or to append; MISSING for unset."""
    base: Any = MISSING
    """Value of the field before, as whoever made the edit saw it; see the module."""
    path: tuple[str, ...] = ()
    """Keys down to a leaf; the alias, of aliases."""
    restore: str | None = None
    """JSON text of what an undone operation replaced: W&B is to hold it again to the byte."""
    restores_key: bool = False
    """Whether `restore` is all of a key of config, with its `desc`, and not the leaf alone."""
    takes_back: int | None = None
    """Operation of the queue that it is the inverse of."""

    @property
    def form(self) -> str:
        """What the field's value is: set, text, leaf, holder or flag."""
        return FIELDS[self.target.kind, self.field].form

    @property
    def slot(self) -> Slot:
        """Where its value stands: operations on one slot build on each other.

        It is the target, the field and the path; an alias is the collection's, whichever version
        has it.
        """
        if self.form != "holder":
            return (*self.target.key, self.field, self.path)
        target = self.target
        return (
            target.kind,
            target.entity,
            target.project,
            target.collection,
            self.field,
            self.path,
        )

    @property
    def label(self) -> str:
        """The place as people write it, for example config.optimizer.lr."""
        return ".".join((self.field, *self.path))

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; what is MISSING is left out."""
        facts: dict[str, Any] = {
            "kind": self.target.kind,
            "entity": self.target.entity,
            "project": self.target.project,
            "name": self.target.name,
            "storage_id": self.target.storage_id,
            "created_at": self.target.created_at,
            "field": self.field,
            "path": list(self.path),
            "action": self.action,
        }
        if self.value is not MISSING:
            facts["value"] = finite(self.value)
        if self.base is not MISSING:
            facts["base"] = finite(self.base)
        if self.restore is not None:
            facts["restore"] = self.restore
            facts["restores_key"] = self.restores_key
        if self.takes_back is not None:
            facts["takes_back"] = self.takes_back
        return facts

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Operation:
        """Returns what to_json wrote.

        Raises:
            EditError: It is no operation.
        """
        try:
            target = Target(
                facts["kind"], facts["entity"], facts["project"], facts["name"],
                facts.get("storage_id"), facts.get("created_at"),
            )  # fmt: skip
            return cls(
                target, facts["field"], facts["action"], facts.get("value", MISSING),
                facts.get("base", MISSING), tuple(facts.get("path") or ()), facts.get("restore"),
                bool(facts.get("restores_key")), facts.get("takes_back"),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise EditError(f"this is no operation: {error!r} is missing or wrong") from error


def apply(operation: Operation, value: Any) -> Any:
    """Returns what an operation makes of the value of its field.

    A set of tags makes the change that it makes to its base, whatever else there is: tags that
    others have added stay.

    >>> run = Target("run", "e", "p", "r")
    >>> apply(Operation(run, "tags", "add", "b"), ["a"])
    ['a', 'b']
    >>> apply(Operation(run, "tags", "set", ["b"], base=["a"]), ["a", "c"])
    ['c', 'b']
    >>> apply(Operation(run, "notes", "append", " checked"), "fine")
    'fine checked'
    >>> apply(Operation(run, "config", "unset", path=("lr",)), 0.1)
    MISSING
    """
    if operation.form == "set":
        held = list(dict.fromkeys(value or ()))
        if operation.action == "add":
            return held if operation.value in held else [*held, operation.value]
        if operation.action == "remove":
            return [tag for tag in held if tag != operation.value]
        wanted = list(dict.fromkeys(operation.value))
        base = set(operation.base or ())
        if set(held) == base:
            return wanted
        gone = base - set(wanted)
        new = [tag for tag in wanted if tag not in base and tag not in held]
        return [tag for tag in held if tag not in gone] + new
    if operation.form == "holder":
        return operation.target.storage_id if operation.action == "add" else None
    if operation.action == "append":
        return (value or "") + operation.value
    if operation.action == "unset":
        return MISSING
    return operation.value


def changes(operation: Operation) -> bool:
    """Says whether an operation changes the value that it is based on."""
    if operation.form == "set" and operation.action == "set":
        return set(operation.value) != set(operation.base or ())
    return not same(apply(operation, operation.base), operation.base, operation.form)


def inverse(
    operation: Operation,
    before: Any,
    after: Any,
    restore: str | None = None,
    made_from: int | None = None,
) -> Operation:
    """Returns the operation that takes back what an applied one has changed.

    Args:
        operation: What was applied.
        before: Value of the field when it was.
        after: What was made of it.
        restore: JSON text that it replaced, of a leaf.
        made_from: Keys of the path down to the first that it has made, of a leaf.

    Raises:
        EditError: W&B offers no way back.

    >>> run = Target("run", "e", "p", "r")
    >>> undo = inverse(Operation(run, "config", "set", 2, base=1, path=("lr",)), 1, 2)
    >>> undo.action, undo.value, undo.base
    ('set', 1, 2)
    """
    if operation.form == "flag":
        raise EditError(f"{operation.label} of {operation.target} cannot be undone in W&B")
    if operation.form == "set":
        if operation.action == "set":
            return replace(operation, value=list(before or ()), base=after)
        action = "remove" if operation.action == "add" else "add"
        return replace(operation, action=action, base=after)
    if operation.form == "holder":
        if before is None:
            return replace(operation, action="remove", base=after)
        target = operation.target
        if before != target.storage_id:
            # Another version had the alias: it gets it back.
            target = replace(
                target, name=target.collection, storage_id=before, created_at=None
            )  # fmt: skip
        return replace(operation, target=target, action="add", base=after)
    if before is MISSING:
        path = operation.path[:made_from]
        for key in reversed(operation.path[len(path) :]):
            after = {key: after}
        return replace(
            operation, action="unset", path=path, value=MISSING, base=after, restore=None,
            restores_key=False,
        )  # fmt: skip
    if operation.form == "text":
        before = before or ""
    takes_key = operation.action == "unset" and len(operation.path) == 1
    return replace(
        operation, action="set", value=before, base=after, restore=restore,
        restores_key=takes_key and operation.field == "config" and restore is not None,
    )  # fmt: skip


def same(one: Any, other: Any, form: str = "leaf") -> bool:
    """Says whether two values of a field are the same to W&B.

    Numbers are compared as numbers, booleans are none, and the texts that W&B writes for NaN and
    infinities are these numbers. Tags have no order; no text and an empty one are the same.

    >>> same(1, 1.0), same(True, 1), same(float("nan"), "NaN"), same(["a", "b"], ["b", "a"])
    (True, False, True, False)
    >>> same(["a", "b"], ["b", "a"], "set"), same(None, "", "text"), same(None, MISSING)
    (True, True, False)
    """
    if form == "set":
        return set(one or ()) == set(other or ())
    if form == "text":
        return (one or "") == (other or "")
    if isinstance(one, str) and one in NON_FINITE:
        one = NON_FINITE[one]
    if isinstance(other, str) and other in NON_FINITE:
        other = NON_FINITE[other]
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    return bool(one == other)
