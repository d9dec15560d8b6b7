"""Where the fields of a row are, and what a test says of them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlglot import exp

from wbsync.query.filters import column_values as columns
from wbsync.query.filters.documents import JsonDocument, LeafDocument, Paths, RawDocument
from wbsync.query.filters.fields import (
    Bridge,
    Column,
    Duration,
    Field,
    Flag,
    Json,
    Keys,
    Leaves,
    Version,
)
from wbsync.query.filters.logic import all_of, negated
from wbsync.query.filters.tree import Equal, Size, compares_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.query.filters.documents import Parts, PathDocument
    from wbsync.query.filters.joins import Joins
    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.reach import Reach
    from wbsync.query.filters.tree import Test
    from wbsync.query.filters.values import Value


class Place(Protocol):
    """Where a field of a row is."""

    def truth(self, test: Test) -> Expression:
        """Returns whether a test holds; FALSE or NULL where not."""

    def is_known(self) -> Expression:
        """Returns whether there is something that is not null."""

    def values(self) -> Sequence[Value]:
        """Returns the values that it may be: the first that is not missing is it."""


class ValuePlace:
    """A field that is one value."""

    def __init__(self, reach: Reach, value: Value, *, is_list: bool = False) -> None:
        self._reach = reach
        self._value = value
        self._is_list = is_list

    def truth(self, test: Test) -> Expression:
        """Returns whether a test holds for the value, or an element of it."""
        return self._reach.anywhere(test, self._value)

    def is_known(self) -> Expression:
        """Returns whether there is a value; a list without elements is none to SQL."""
        known = self._value.is_known()
        if self._is_list:
            return all_of([known, negated(self._value.holds(Size(0)))])
        return known

    def values(self) -> Sequence[Value]:
        """Returns the value."""
        return [self._value]


class PathPlace:
    """A field inside a document."""

    def __init__(self, paths: Paths, raw: RawDocument, candidates: Sequence[Parts]) -> None:
        self._paths = paths
        self._raw = raw
        self._candidates = candidates

    def truth(self, test: Test) -> Expression:
        """Returns whether a test holds for what the path leads to."""
        if compares_objects(test):
            return self._raw.truth(test, self._candidates)
        return self._paths.truth(test, self._candidates)

    def is_known(self) -> Expression:
        """Returns whether the path leads to something that is not null."""
        return self._paths.is_known(self._candidates)

    def values(self) -> Sequence[Value]:
        """Returns what each path that the field may name leads to."""
        return self._paths.values(self._candidates)


class Places:
    """The fields of rows, joined where they are named."""

    def __init__(
        self,
        joins: Joins,
        reach: Reach,
        ordered: Reach,
        *,
        follows_arrays: bool,
        read_by_leaf: frozenset[str],
    ) -> None:
        """Takes how fields are reached.

        Args:
            joins: Collects what must be joined.
            reach: How values are tested.
            ordered: The same, where the order of keys counts.
            follows_arrays: Whether a path goes on inside the elements of arrays.
            read_by_leaf: Documents that are read leaf by leaf; others are read from JSON.
        """
        self._joins = joins
        self._words = reach.words
        self._reach = reach
        self._ordered = ordered
        self._follows_arrays = follows_arrays
        self._read_by_leaf = read_by_leaf

    def place(self, field: Field) -> Place:
        """Returns where a field is, joining what it needs."""
        source, words, joins = field.source, self._words, self._joins
        if isinstance(source, (Leaves, Json)):
            return self._path(field, source)
        if isinstance(source, Column):
            return self._column(source)
        if isinstance(source, Version):
            text, number = joins.column(source.text), joins.column(source.number)
            return ValuePlace(self._reach, columns.Numbered(words, text, number))
        if isinstance(source, Flag):
            items = self._reach.json(joins.column(source.column))
            has = self._reach.anywhere(Equal(field.parts[0]), items)
            return ValuePlace(self._reach, columns.Boolean(words, has))
        if isinstance(source, Keys):
            mark = joins.key(source.table, field.parts[0])
            return ValuePlace(self._reach, columns.Mark(words, mark))
        if isinstance(source, Bridge):
            items = self._reach.json(
                joins.bridge(source.table, source.column, source.on, source.where)
            )
            return ValuePlace(self._reach, items, is_list=True)
        assert isinstance(source, Duration)
        logged, _ = joins.leaf("run_summary", "_runtime")
        seconds = exp.Coalesce(this=joins.column("compute_seconds"), expressions=[logged])
        return ValuePlace(self._reach, columns.Number(words, seconds))

    def _column(self, source: Column) -> Place:
        column = self._joins.column(source.column, source.via)
        if source.prefix:
            prefix = self._words.text(source.prefix)
            column = exp.Concat(expressions=[prefix, column], safe=False, coalesce=False)
        if source.type == "list":
            return ValuePlace(self._reach, self._reach.json(column), is_list=True)
        types = {"text": columns.Text, "number": columns.Number, "time": columns.Time}
        return ValuePlace(self._reach, types[source.type](self._words, column))

    def _path(self, field: Field, source: Leaves | Json) -> Place:
        joins, words = self._joins, self._words
        via = source.via if isinstance(source, Json) else None
        text = joins.column(source.column, via)
        document: PathDocument = JsonDocument(
            words, text, lambda parts: joins.find(source.column, parts, via)
        )
        raw, is_wrapped, reach = text, False, self._reach
        if isinstance(source, Leaves):
            table = source.table
            if field.name in self._read_by_leaf:
                document = LeafDocument(
                    words,
                    lambda key: joins.leaf(table, key),
                    lambda key: joins.below(table, key),
                    text,
                )
            if source.raw is not None:
                raw, is_wrapped = joins.column(source.raw), source.is_wrapped
                reach = self._ordered
        return PathPlace(
            Paths(self._reach, document, follows_arrays=self._follows_arrays),
            RawDocument(words, reach, raw, is_wrapped=is_wrapped),
            candidates(field, source),
        )


def candidates(field: Field, source: Leaves | Json) -> list[Parts]:
    """Returns the paths that a field may name: W&B's `.value` around config values is optional.

    >>> from wbsync.query.filters.fields import RUNS, resolve_field
    >>> found = resolve_field(RUNS, "config.lr.value")
    >>> candidates(found, found.source)
    [('lr', 'value'), ('lr',)]
    """
    parts = field.parts
    found = [parts]
    if isinstance(source, Leaves) and source.is_wrapped and len(parts) > 1:
        if parts[1] == "value":
            found.append((parts[0], *parts[2:]))
        if parts[-1] == "value":
            found.append(parts[:-1])
    return list(dict.fromkeys(found))
