"""Turns a tree into a condition of SQL, in one of two meanings.

`mongo` is MongoDB's manual: a missing field is null, and whatever is not so is its opposite.
`wandb` is what W&B's server, which keeps runs in SQL, is believed to answer: of what is missing or
null nothing is true, nor is its opposite, but for the question whether it is there. docs/filters.md
has both in full.

In `mongo` every negation is of a condition whose NULL was made FALSE. In `wandb` NULL means
"unknown", and is given its chance to travel up only where a negation stands above: elsewhere
FALSE and NULL select the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.query.filters.check import adapted
from wbsync.query.filters.fields import Leaves, resolve_field
from wbsync.query.filters.logic import (
    all_of,
    any_of,
    case,
    false,
    is_not_true,
    is_true,
    negated,
)
from wbsync.query.filters.places import Places, candidates
from wbsync.query.filters.reach import WHOLE_TESTS, Reach
from wbsync.query.filters.tree import (
    And,
    Compare,
    ElementMatches,
    Equal,
    Exists,
    In,
    Node,
    Not,
    OneOf,
    Size,
    Where,
    compares_objects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wbsync.query.filters.check import Meaning
    from wbsync.query.filters.documents import Parts
    from wbsync.query.filters.fields import Field, Kind
    from wbsync.query.filters.joins import Joins
    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.places import Place
    from wbsync.query.filters.tree import Operand, Test
    from wbsync.query.filters.values import Value
    from wbsync.query.filters.vocabulary import Vocabulary

    Either = Callable[[Sequence[Where], bool], Expression]

MAX_LEAVES = 8
"""Keys of one document that are worth a join each; a filter of more reads the JSON instead."""


class Lowering:
    """Lowers one filter, and what is shown and ordered by beside it, collecting the joins."""

    def __init__(
        self,
        kind: Kind,
        meaning: Meaning,
        words: Vocabulary,
        joins: Joins,
        paths: Sequence[str],
        *,
        from_leaves: bool,
    ) -> None:
        """Takes where the rows are.

        Args:
            kind: Kind of thing that is filtered.
            meaning: Which of the two meanings the filter has.
            words: The dialect's words.
            joins: Collects what must be joined.
            paths: All fields that will be named, by which it is decided how they are read.
            from_leaves: Whether documents may be read leaf by leaf.
        """
        self._kind = kind
        self._meaning = meaning
        self._words = words
        self._joins = joins
        self._reach = Reach(words, self._element)
        ordered = Reach(words, self._element, is_ordered=True)
        limit = MAX_LEAVES if words.extracts_together else len(paths)
        self._places = Places(
            joins, self._reach, ordered, follows_arrays=meaning == "mongo",
            read_by_leaf=_read_by_leaf(kind, paths, limit) if from_leaves else frozenset(),
        )  # fmt: skip

    def condition(self, root: Node) -> Expression:
        """Returns the condition under which a row passes."""
        return self._node(root, self._field, is_negated=False)

    def sort_keys(self, field: Field) -> list[Expression]:
        """Returns what orders rows by a field, ascending and NULL first."""
        values = self._places.place(field).values()
        keys = [value.sort_keys() for value in values]
        return [_first_of(values, list(same)) for same in zip(*keys, strict=True)]

    def shown(self, field: Field, as_type: str | None) -> Expression:
        """Returns what is shown of a field.

        Args:
            field: The field.
            as_type: What its leaf was found to be in all rows: double, bigint, boolean, text, or
                object; None where it is mixed or not known.
        """
        source = field.source
        if as_type == "object" and isinstance(source, Leaves):
            document = self._joins.column(source.column)
            found = [self._words.get(document, parts) for parts in candidates(field, source)]
            return exp.Coalesce(this=found[0], expressions=found[1:]) if found[1:] else found[0]
        values = self._places.place(field).values()
        return _first_of(values, [value.shown(as_type) for value in values])

    def _node(self, node: Node, either: Either, *, is_negated: bool) -> Expression:
        """Returns a tree as a condition.

        Args:
            node: The tree.
            either: Returns whether one of several tests of the same field holds.
            is_negated: Whether a negation stands above it.
        """
        if isinstance(node, Where):
            return either([node], is_negated)
        if isinstance(node, Not):
            inner = self._node(node.child, either, is_negated=True)
            return is_not_true(inner) if self._meaning == "mongo" else negated(inner)
        if isinstance(node, And):
            return all_of([self._node(c, either, is_negated=is_negated) for c in node.children])
        by_path: dict[str, list[Where]] = {}
        found: list[Expression] = []
        for child in node.children:
            if isinstance(child, Where):
                by_path.setdefault(child.path, []).append(child)
            else:
                found.append(self._node(child, either, is_negated=is_negated))
        return any_of([*(either(tests, is_negated) for tests in by_path.values()), *found])

    def _field(self, wheres: Sequence[Where], is_negated: bool) -> Expression:
        field = resolve_field(self._kind, wheres[0].path, wheres[0].at)
        place = self._places.place(field)
        found: list[Expression] = []
        tests: list[Test] = []
        for where in wheres:
            for test in _parted(adapted(where, field)):
                if self._meaning == "wandb" and isinstance(where.test, In) and test == Equal(None):
                    # A list that holds NULL is met or unknown, never not met.
                    found.append(exp.null())
                else:
                    tests.append(test)
        found += [self._test(place, test, is_negated=is_negated) for test in _merged(tests)]
        return any_of(found)

    def _test(self, place: Place, test: Test, *, is_negated: bool) -> Expression:
        """Returns a test of a field in the filter's meaning."""
        if self._meaning == "mongo":
            if isinstance(test, Compare) and test.value is None:
                return place.truth(Equal(None)) if "=" in test.op else false()
            return place.truth(test)
        if isinstance(test, Exists):
            return place.is_known()
        if _is_null(test):
            return exp.null() if isinstance(test, Compare) else is_not_true(place.is_known())
        truth = place.truth(test)
        if not is_negated and not isinstance(test, Size):
            return truth
        settled = exp.Coalesce(this=truth, expressions=[false()])
        known = place.is_known()
        return settled if is_true(known) else case((known, settled), otherwise=None)

    def _element(self, test: ElementMatches, item: Expression) -> Expression:
        """Returns whether an element of an array passes `$elemMatch`."""
        value = self._reach.json(item)

        def itself(wheres: Sequence[Where], _: bool) -> Expression:
            return any_of([self._reach.holds(w.test, value) for w in wheres])

        def field(wheres: Sequence[Where], _: bool) -> Expression:
            first, *rest = wheres[0].path.split(".")
            tests = _merged([t for w in wheres for t in _parted(w.test)])
            return any_of([self._reach.along(t, value.part(first), rest) for t in tests])

        if not test.asks_fields:
            return self._node(test.query, itself, is_negated=False)
        is_container = any_of([value.is_array(), value.is_object()])
        return all_of([is_container, self._node(test.query, field, is_negated=False)])


def _read_by_leaf(kind: Kind, paths: Sequence[str], limit: int) -> frozenset[str]:
    """Returns the documents of which so few keys are named that a join each is best."""
    named: dict[str, set[Parts]] = {}
    for path in paths:
        field = resolve_field(kind, path)
        if isinstance(field.source, Leaves):
            named.setdefault(field.name, set()).add(field.parts)
    return frozenset(name for name, keys in named.items() if len(keys) <= limit)


def _first_of(values: Sequence[Value], shown: list[Expression]) -> Expression:
    """Returns what belongs to the first value that is not missing."""
    *first, last = zip(values, shown, strict=True)
    return case(*((negated(v.is_missing()), s) for v, s in first), otherwise=last[1])


def _parted(test: Test) -> list[Test]:
    """Returns tests of which one must hold: null and objects apart from what is compared alike."""
    if not isinstance(test, In):
        return [test]
    whole = [Equal(v) for v in test.values if compares_objects(Equal(v))]
    plain = [v for v in test.values if v is not None and not compares_objects(Equal(v))]
    found: list[Test] = [In(tuple(plain))] if plain else []
    return [*found, *whole, *([Equal(None)] if None in test.values else [])]


def _merged(tests: list[Test]) -> list[Test]:
    """Returns tests of which one must hold, with those of an array's elements as a single one."""
    values: dict[tuple[type, Operand], Operand] = {}
    opened: list[Test] = []
    alone: list[Test] = []
    for test in tests:
        if isinstance(test, In):
            values |= {(type(v), v): v for v in test.values}
        elif isinstance(test, WHOLE_TESTS) or compares_objects(test) or _is_null(test):
            alone.append(test)
        elif isinstance(test, Equal):
            values[type(test.value), test.value] = test.value
        else:
            opened.append(test)
    if values:
        opened.append(In(tuple(values.values())))
    return [*opened, *alone] if len(opened) < 2 else [OneOf(tuple(opened)), *alone]


def _is_null(test: Test) -> bool:
    return isinstance(test, (Equal, Compare)) and test.value is None
