"""A filter as a tree: what it asks, checked, and without a word of how it is answered.

Every node is frozen and can be hashed. A test looks at one field, and says what must hold of a
value there; `And`, `Or` and `Not` join tests. `$ne`, `$nin` and `$nor` are `Not` of their opposite,
which is what MongoDB's manual says that they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object as an operand, its keys in the order in which they were written."""

    items: tuple[tuple[str, Operand], ...]


Operand: TypeAlias = "bool | int | float | str | datetime | tuple[Operand, ...] | Document | None"
"""A value to compare with; lists are tuples, instants are aware and in UTC."""


@dataclass(frozen=True, slots=True)
class Equal:
    """The value equals the operand; null equals a missing field, too."""

    value: Operand


@dataclass(frozen=True, slots=True)
class In:
    """The value equals one of the operands."""

    values: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """The value is of the operand's type, and on the given side of it."""

    op: str
    """`<`, `<=`, `>` or `>=`."""
    value: Operand


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value, be it null."""


@dataclass(frozen=True, slots=True)
class Regex:
    """The value is a text in which the pattern is found."""

    pattern: str
    """In RE2's syntax, options as inline flags."""


@dataclass(frozen=True, slots=True)
class Contains:
    """The value is a text that contains the operand: W&B's own operator."""

    text: str


@dataclass(frozen=True, slots=True)
class Size:
    """The value is an array of this length."""

    length: int


@dataclass(frozen=True, slots=True)
class Mod:
    """The value, without its fraction, leaves this remainder."""

    divisor: int
    remainder: int


@dataclass(frozen=True, slots=True)
class TypeOf:
    """The value is of one of these types, named as MongoDB names them."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class ElementMatches:
    """The value is an array, and one element of it passes.

    The tests inside look at the element itself where their path is empty, else at its fields.
    """

    query: Node
    asks_fields: bool
    """Whether it is the element's fields that are asked for, which only objects and arrays have."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several tests holds, each of them one that looks at the elements of an array."""

    tests: tuple[Test, ...]


Test: TypeAlias = (
    "Equal | In | Compare | Exists | Regex | Contains | Size | Mod | TypeOf | ElementMatches"
    " | OneOf"
)


@dataclass(frozen=True, slots=True)
class Where:
    """A test of a field."""

    path: str
    """The field as it was written; empty for the element inside `$elemMatch`."""
    test: Test
    operator: str
    """Operator as it was written, empty for a bare value."""
    at: str
    """Place in the filter, for messages."""


@dataclass(frozen=True, slots=True)
class And:
    """All children hold; none at all, too."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A child holds."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The child does not hold."""

    child: Node
    is_root: bool = False
    """Whether it was written as `$not` without a field, which MongoDB does not take."""


Node: TypeAlias = "Where | And | Or | Not"

EVERYTHING = And(())
"""The filter that lets all pass."""


def compares_objects(test: Test) -> bool:
    """Says whether a test compares with whole objects, in which the order of keys counts."""
    if isinstance(test, ElementMatches):
        return any(compares_objects(where.test) for where in iter_tests(test.query))
    if isinstance(test, Equal):
        return _holds_document(test.value)
    return isinstance(test, In) and any(_holds_document(v) for v in test.values)


def _holds_document(value: Operand) -> bool:
    if isinstance(value, tuple):
        return any(_holds_document(v) for v in value)
    return isinstance(value, Document)


def iter_tests(node: Node) -> Iterator[Where]:
    """Yields the tests of a tree, in the order in which they were written."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Where):
            yield current
        elif isinstance(current, Not):
            pending.append(current.child)
        else:
            pending.extend(reversed(current.children))
