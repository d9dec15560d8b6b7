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

import json
import math
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from wbsync.errors import EditError
from wbsync.extract.values import INTERNAL_CONFIG_KEYS, finite
from wbsync.model import NON_FINITE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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

MAX_TAG_CHARS = {"run": 64, "artifact": 128, "artifact_collection": 128}
"""As the SDK checks tags of runs, and its input types those of artifacts."""
MAX_ALIAS_CHARS = 128
MAX_METADATA_KEYS = 100
MAX_VALUE_BYTES = 10_000_000
ENDED_STATES = frozenset({"finished", "crashed", "failed", "killed"})
"""States of a run whose process is gone; that of any other may write config and summary anew."""
SETTABLE_STATES = {
    "pending": frozenset({"running", "failed", "crashed", "preempted"}),
    "failed": frozenset({"pending", "running"}),
}
"""State that a run may be set to, and from which; of sweeps' runs none. As the SDK's docs say."""

_ARTIFACT_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_VERSION = re.compile(r"v\d+")


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


def check(operation: Operation) -> None:
    """Checks that W&B would take an operation, as far as can be told without asking.

    Raises:
        EditError: It would not; the message says why.
    """
    target, value = operation.target, operation.value
    where = f"{operation.label} of {target}"
    if not all((target.entity, target.project, target.name)):
        raise EditError(f"{operation.label}: the target's entity, project or name is empty")
    field = FIELDS.get((target.kind, operation.field))
    if field is None:
        known = ", ".join(name for kind, name in FIELDS if kind == target.kind)
        raise EditError(f"{operation.field!r} of a {target.kind} cannot be edited; try {known}")
    if operation.action not in field.actions:
        raise EditError(
            f"{where}: {operation.action} is not possible; {' and '.join(field.actions)} are"
        )
    if field.form == "leaf":
        _check_leaf(operation, where)
    elif operation.path and field.form != "holder":
        raise EditError(f"{where}: {operation.field} has no leaves")
    if field.form == "set":
        tags = [value] if operation.action in {"add", "remove"} else value
        if not isinstance(tags, (list, tuple)):
            raise EditError(f"{where}: tags are a list of texts")
        for tag in tags:
            _check_tag(tag, target.kind, where)
    elif field.form == "holder":
        if operation.path != (value,):
            raise EditError(f"{where}: the path of an alias is the alias")
        _check_alias(value, where)
    elif field.form == "text":
        _check_text(value, where)
        if operation.field == "display_name" and not value.strip():
            raise EditError(f"{where}: W&B takes no empty name")
    elif operation.field == "state" and value not in SETTABLE_STATES:
        raise EditError(f"{where}: a run can only be set to {' or '.join(SETTABLE_STATES)}")
    elif operation.field == "stop" and value is not True:
        raise EditError(f"{where}: a run can be stopped, and not be started again")


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise EditError(f"{where}: it takes a text, not {type(value).__name__}")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise EditError(f"{where}: the text holds a character that cannot be stored")


def _check_tag(tag: Any, kind: str, where: str) -> None:
    _check_text(tag, where)
    most = MAX_TAG_CHARS[kind]
    if not 1 <= len(tag) <= most:
        raise EditError(f"{where}: a tag has 1 to {most} characters, {_short(tag)} has {len(tag)}")
    if tag != tag.strip():
        raise EditError(f"{where}: W&B takes the spaces around {_short(tag)} away; leave them out")
    if kind != "run" and not _ARTIFACT_TAG.fullmatch(tag):
        raise EditError(
            f"{where}: {_short(tag)} is no tag here: letters, digits, - and _, single words or"
            " several with spaces between"
        )


def _check_alias(alias: Any, where: str) -> None:
    _check_text(alias, where)
    if not 1 <= len(alias) <= MAX_ALIAS_CHARS or alias != alias.strip():
        raise EditError(f"{where}: an alias has 1 to {MAX_ALIAS_CHARS} characters")
    if "/" in alias or ":" in alias:
        raise EditError(f"{where}: an alias holds neither / nor :")
    if _VERSION.fullmatch(alias):
        raise EditError(f"{where}: {alias} is a version's own name, which W&B gives")


def _check_leaf(operation: Operation, where: str) -> None:
    path, value = operation.path, operation.value
    if not path or not all(isinstance(key, str) for key in path):
        raise EditError(f"{where}: name a leaf, for example {operation.field}.lr")
    for key in path:
        _check_text(key, where)
    if not path[0]:
        raise EditError(f"{where}: an empty name is no key")
    if operation.field != "metadata" and path[0] in INTERNAL_CONFIG_KEYS:
        raise EditError(f"{where}: {path[0]} is W&B's own and stays as it is")
    if operation.action == "unset":
        if value is not MISSING:
            raise EditError(f"{where}: unset takes no value")
        return
    if value is MISSING:
        raise EditError(f"{where}: set takes a value")
    _check_json(value, where, is_finite=operation.field == "metadata")
    if len(json_text(value)) > MAX_VALUE_BYTES:
        raise EditError(f"{where}: the value is larger than the 10 MB that W&B takes")


def _check_json(value: Any, where: str, *, is_finite: bool, depth: int = 0) -> None:
    if depth > 50:
        raise EditError(f"{where}: the value is nested too deeply")
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float):
        if is_finite and not math.isfinite(value):
            raise EditError(f"{where}: W&B takes no {value} in an artifact's metadata")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key, where)
            _check_json(inner, where, is_finite=is_finite, depth=depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_json(inner, where, is_finite=is_finite, depth=depth + 1)
    elif value is not None and not isinstance(value, (bool, int)):
        raise EditError(f"{where}: {type(value).__name__} is nothing that JSON holds")


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:29]}…")


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


def leaf_at(values: Any, path: Sequence[str]) -> Any:
    """Returns the leaf at a path of nested dictionaries, MISSING where there is none.

    >>> leaf_at({"a": {"b.c": None}}, ("a", "b.c")), leaf_at({"a": 1}, ("a", "b"))
    (None, MISSING)
    """
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return MISSING
        values = values[key]
    return values


def with_leaf(values: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Returns nested dictionaries with another leaf at a path; MISSING takes it away.

    Raises:
        EditError: The path leads through a value that is no dictionary.

    >>> with_leaf({"a": {"b": 1}}, ("a", "c"), 2), with_leaf({"a": 1, "b": 2}, ("a",), MISSING)
    ({'a': {'b': 1, 'c': 2}}, {'b': 2})
    """
    key, *rest = path
    if not rest:
        kept = {k: v for k, v in values.items() if k != key} if value is MISSING else dict(values)
        return kept if value is MISSING else {**kept, key: value}
    inner = values.get(key, {})
    if not isinstance(inner, dict):
        raise EditError(f"{key} is a value, and has no {'.'.join(rest)}")
    if value is MISSING and key not in values:
        return dict(values)
    return {**values, key: with_leaf(inner, rest, value)}


def resolve_path(values: Mapping[str, Any], dotted: str) -> tuple[str, ...]:
    """Returns the path that a dotted name means: of a leaf that is there, else by its dots.

    A literal key with dots goes before nested ones, as in the warehouse's leaf tables.

    >>> resolve_path({"a.b": {"c": 1}}, "a.b.c"), resolve_path({"a": {"b": 1}}, "a.b")
    (('a.b', 'c'), ('a', 'b'))
    >>> resolve_path({}, "a.b")
    ('a', 'b')
    """
    return _held_path(values, dotted) or _new_path(values, dotted)


def _held_path(values: Any, dotted: str) -> tuple[str, ...] | None:
    if not isinstance(values, dict):
        return None
    if dotted in values:
        return (dotted,)
    parts = dotted.split(".")
    for count in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:count])
        if head in values:
            rest = _held_path(values[head], ".".join(parts[count:]))
            if rest is not None:
                return (head, *rest)
    return None


def _new_path(values: Any, dotted: str) -> tuple[str, ...]:
    """Returns where a new leaf goes: into the deepest group that is there."""
    parts = dotted.split(".")
    for count in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:count])
        if isinstance(values, dict) and isinstance(values.get(head), dict):
            return (head, *_new_path(values[head], ".".join(parts[count:])))
    return tuple(parts)


def json_text(value: Any) -> str:
    """Returns a value as JSON that W&B takes: non-finite numbers are its texts for them."""
    return json.dumps(finite(_plain(value)), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
