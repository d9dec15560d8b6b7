"""What is to be changed, before it is known of what: the form that all ways in share.

`wbsync edit`, an UPDATE, a file and Python all become assignments; each thing they are about makes
operations of them, based on what the warehouse shows of it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.errors import EditError
from wbsync.writeback.leaves import leaf_at, resolve_path, with_leaf
from wbsync.writeback.operations import ENDED_STATES, FIELDS, MISSING, SETTABLE_STATES, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KIND_OF = {"runs": "run", "artifacts": "artifact", "collections": "artifact_collection"}
"""What is asked for, to the kind of its operations."""

SPELLINGS = {
    "name": "display_name", "displayname": "display_name", "group_name": "group",
    "jobtype": "job_type", "summary_metrics": "summary", "summarymetrics": "summary",
}  # fmt: skip
"""Other spellings of fields, of W&B and of the warehouse, in lower case."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A change that is to be made to something."""

    field: str
    """See `operations.FIELDS`."""
    action: str
    value: Any = MISSING
    name: str | None = None
    """Dotted name of a leaf; None for a whole field."""

    @property
    def label(self) -> str:
        """The place as people write it."""
        return self.field if self.name is None else f"{self.field}.{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """What an assignment comes to where a field holds a certain value."""

    field: str
    action: str
    value: Any
    base: Any
    after: Any
    path: tuple[str, ...] = ()


def parse_place(kind: str, text: str) -> tuple[str, str | None]:
    """Returns the field that a name means, and the dotted name of a leaf in it.

    Args:
        kind: runs, artifacts or collections.
        text: For example notes, or config.optimizer.lr.

    Raises:
        EditError: There is no such field, or it cannot be edited.

    >>> parse_place("runs", "config.optimizer.lr"), parse_place("runs", "group_name")
    (('config', 'optimizer.lr'), ('group', None))
    """
    head, dot, rest = text.partition(".")
    field = SPELLINGS.get(head.lower(), head)
    described = FIELDS.get((KIND_OF[kind], field))
    if described is None:
        raise EditError(f"{text}: {_unknown(kind, head)}")
    if described.form == "leaf":
        if not rest:
            raise EditError(f"{text}: name a leaf, for example {field}.lr")
        return field, rest
    if dot:
        raise EditError(f"{text}: {field} has no leaves")
    return field, None


def editable(kind: str) -> list[str]:
    """Returns what may be edited, as people write it.

    >>> editable("collections")
    ['tags', 'description']
    """
    return [
        f"{name}.KEY" if field.form == "leaf" else name
        for (of, name), field in FIELDS.items()
        if of == KIND_OF[kind]
    ]


def _unknown(kind: str, name: str) -> str:
    names = {n.removesuffix(".KEY"): n for n in editable(kind)} | {
        other: n for other, n in SPELLINGS.items() if (KIND_OF[kind], n) in FIELDS
    }
    near = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"; did you mean {names[near[0]]}?" if near else ""
    return f"{kind} have no such field to edit{hint}; there are {', '.join(editable(kind))}"


def parse_value(text: str) -> Any:
    """Returns what a value that was typed means: JSON where it is JSON, else the text itself.

    >>> parse_value("0.1"), parse_value("adam"), parse_value('"7"'), parse_value("[1, null]")
    (0.1, 'adam', '7', [1, None])
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


def build_assignments(
    kind: str,
    *,
    add_tags: Iterable[str] = (),
    remove_tags: Iterable[str] = (),
    tags: Iterable[str] | None = None,
    add_aliases: Iterable[str] = (),
    remove_aliases: Iterable[str] = (),
    append_notes: str | None = None,
    values: Mapping[str, Any] | None = None,
    unset: Iterable[str] = (),
    stop: bool = False,
) -> list[Assignment]:
    """Returns assignments, in the order in which they are made.

    Args:
        kind: runs, artifacts or collections.
        add_tags: Tags to add.
        remove_tags: Tags to take away.
        tags: Tags to have in the place of all; None leaves them.
        add_aliases: Aliases to give.
        remove_aliases: Aliases to take away.
        append_notes: Text to append to the notes, as it is.
        values: Field, or leaf such as `config.lr`, to what it is to be.
        unset: Leaves to take away.
        stop: Whether runs are to be stopped.

    Raises:
        EditError: A field does not exist, or nothing is to be changed.
    """
    made: list[Assignment] = []
    if tags is not None:
        made.append(Assignment("tags", "set", texts("tags", tags)))
    made += [Assignment("tags", "add", tag) for tag in texts("tags", add_tags)]
    made += [Assignment("tags", "remove", tag) for tag in texts("tags", remove_tags)]
    made += [Assignment("aliases", "add", alias) for alias in texts("aliases", add_aliases)]
    made += [Assignment("aliases", "remove", name) for name in texts("aliases", remove_aliases)]
    for place, value in (values or {}).items():
        field, name = parse_place(kind, place)
        if field == "aliases":
            raise EditError("aliases are added and taken away one by one, not set")
        made.append(Assignment(field, "set", value, name))
    if append_notes is not None:
        made.append(Assignment("notes", "append", append_notes))
    for place in unset:
        field, name = parse_place(kind, place)
        if name is None:
            raise EditError(f"{place}: only leaves are taken away, for example config.lr")
        made.append(Assignment(field, "unset", name=name))
    if stop:
        made.append(Assignment("stop", "set", True))
    for assignment in made:
        if (KIND_OF[kind], assignment.field) not in FIELDS:
            raise EditError(_unknown(kind, assignment.field))
    if not made:
        raise EditError(f"say what is to be changed: {', '.join(editable(kind))}")
    return made


def texts(what: str, values: Any) -> list[str]:
    """Returns a list of tags or aliases, which a text alone is none of, nor is None.

    Raises:
        EditError: It is no list.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise EditError(f"{what} are a list of texts, also of one; [] has none")
    return list(values)


def steps(field: str, assignments: Sequence[Assignment], held: Any) -> list[Step]:
    """Returns what assignments to one field come to, without those that change nothing.

    Args:
        field: The field.
        assignments: In their order; each builds on what the one before has made.
        held: Value of the field: tags, a text, a flag, or a dictionary, which need hold no more
            than what the assignments name.

    Raises:
        EditError: A leaf's name leads through a value.

    >>> tag = Assignment("tags", "add", "b")
    >>> [step.after for step in steps("tags", [tag, tag], ["a"])]
    [['a', 'b']]
    """
    made: list[Step] = []
    last = len(assignments) - 1
    for index, assignment in enumerate(assignments):
        action, value = assignment.action, assignment.value
        if assignment.name is not None:
            path = resolve_path(held, assignment.name)
            base = leaf_at(held, path)
            if not same(value, base):
                if index < last or (base is MISSING and len(path) > 1):
                    held = with_leaf(held, path, value)
                made.append(Step(field, action, value, base, value, path))
            continue
        if field == "tags":
            after = _tags_after(held, action, value)
            is_same = set(after) == set(held)
        else:
            after = (held or "") + value if action == "append" else value
            is_same = (after or "") == (held or "")
            if field == "stop":
                is_same = held in ENDED_STATES
            elif field == "state":
                check_state(held, value)
        if not is_same:
            base = False if field == "stop" else held
            made.append(Step(field, action, value, base, after))
            held = after
    return made


def _tags_after(held: Sequence[str], action: str, value: Any) -> list[str]:
    if action == "set":
        return list(dict.fromkeys(value)) if isinstance(value, (list, tuple)) else [value]
    if action == "remove":
        return [tag for tag in held if tag != value]
    return list(held) if value in held else [*held, value]


def check_state(held: Any, value: Any) -> None:
    """Checks that W&B would let a run go from one state to another.

    Raises:
        EditError: It would not.
    """
    if value != held and value in SETTABLE_STATES and held not in SETTABLE_STATES[value]:
        raise EditError(f"a run that is {held} cannot be set to {value}")
