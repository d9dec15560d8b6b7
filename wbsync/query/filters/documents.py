"""The JSON documents of a row, config and summary above all, and how a path is found in them.

A dot in a key reads as nesting: `{"a.b": 1}` and `{"a": {"b": 1}}` are one, and where a run has
both, the literal key counts (docs/decisions/0004). A document is read from one of three places:

* `LeafDocument`, from its leaves' own table, one join a key: nothing is parsed but arrays and
  media that lie on the path. This is what makes a filter fast.
* `JsonDocument`, from its JSON: where it has no such table, and for filters of very many keys.
* `RawDocument`, from the JSON as W&B holds it: for comparisons with whole objects, where the order
  of keys counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlglot import exp

from wbsync.query.filters.json_values import Json, Leaf
from wbsync.query.filters.logic import (
    all_of,
    any_of,
    case,
    false,
    is_not_null,
    negated,
)
from wbsync.query.filters.tree import Equal, Exists, TypeOf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.reach import Reach, Start
    from wbsync.query.filters.tree import Test
    from wbsync.query.filters.vocabulary import Vocabulary

Parts = tuple[str, ...]
MAX_SPLITS = 8


class PathDocument(Protocol):
    """A document in which paths are found."""

    shows_objects: bool
    """Whether `value` finds plain objects, and looks into all objects by itself."""

    def value(self, parts: Parts) -> Json:
        """Returns what a path of keys leads to; a plain object may be missing there."""

    def whole(self, parts: Parts) -> Json:
        """Returns what a path leads to, be it a plain object."""

    def is_object(self, parts: Parts) -> Expression:
        """Returns whether a path leads to a plain object that `value` does not show."""


class LeafDocument:
    """A document whose leaves are joined; arrays and media are leaves."""

    shows_objects = False

    def __init__(
        self,
        words: Vocabulary,
        leaf: Callable[[str], tuple[Expression, Expression]],
        below: Callable[[str], Expression],
        document: Expression,
    ) -> None:
        """Takes what joins.

        Args:
            words: The dialect's words.
            leaf: Joins the leaf of a dotted key; returns its number and its JSON.
            below: Joins what lies below a dotted key; returns what is not NULL where that is.
            document: The JSON that holds the leaves.
        """
        self._document = document
        self._words = words
        self._leaf = leaf
        self._below = below

    def value(self, parts: Parts) -> Json:
        """Returns the leaf of a path."""
        return Leaf(self._words, *self._leaf(".".join(parts)))

    def whole(self, parts: Parts) -> Json:
        """Returns the leaf of a path; where there is none, what the JSON has: an object."""
        number, json = self._leaf(".".join(parts))
        read = JsonDocument(self._words, self._document, self._find)
        is_leaf = any_of([is_not_null(number), is_not_null(json)])
        found = case((is_leaf, json), otherwise=read.value(parts).json)
        return Leaf(self._words, number, found)

    def _find(self, parts: Parts) -> Expression:
        return self._words.get(self._document, parts)

    def is_object(self, parts: Parts) -> Expression:
        """Returns whether leaves lie below a path."""
        return is_not_null(self._below(".".join(parts)))


class JsonDocument:
    """A document whose JSON is read."""

    shows_objects = True

    def __init__(
        self, words: Vocabulary, document: Expression, find: Callable[[Parts], Expression]
    ) -> None:
        """Takes the document.

        Args:
            words: The dialect's words.
            document: Its JSON.
            find: Returns the JSON at a path of literal keys.
        """
        self._words = words
        self._document = document
        self._find = find

    def value(self, parts: Parts) -> Json:
        """Returns what a path leads to, the longest literal keys first."""
        # A number would count into an array, which is for `Reach` to do.
        on_the_way = any_of([
            self._read(parts[:index]).is_array()
            for index in range(1, len(parts))
            if parts[index].isdigit()
        ])  # fmt: skip
        value = self._read(parts).json
        return Json(self._words, case((on_the_way, exp.null()), otherwise=value))

    def _read(self, parts: Parts) -> Json:
        found = [self._find(split) for split in splits(parts)]
        value = exp.Coalesce(this=found[0], expressions=found[1:]) if len(found) > 1 else found[0]
        return Json(self._words, value)

    whole = value

    def is_object(self, parts: Parts) -> Expression:
        """Returns whether a literal dotted key lies below a path."""
        found = [self._words.has_key_below(self._document, ".".join(parts) + ".")]
        for index in range(1, len(parts)):
            holder = self.value(parts[:index])
            inside = self._words.has_key_below(holder.json, ".".join(parts[index:]) + ".")
            found.append(case((holder.is_object(), inside), otherwise=false()))
        return any_of(found)


def splits(parts: Parts) -> list[Parts]:
    """Returns the ways in which dots may belong to keys, the longest keys first.

    >>> splits(("a", "b", "c"))
    [('a.b.c',), ('a.b', 'c'), ('a', 'b.c'), ('a', 'b', 'c')]
    """
    found: list[Parts] = []
    for count in range(len(parts), 0, -1):
        first = ".".join(parts[:count])
        found += [(first, *rest) for rest in (splits(parts[count:]) or [()])]
        if len(found) >= MAX_SPLITS:
            return [*found[: MAX_SPLITS - 1], parts]
    return found


class Paths:
    """Tests of what paths lead to in a document."""

    def __init__(self, reach: Reach, document: PathDocument, *, follows_arrays: bool) -> None:
        """Takes where to look.

        Args:
            reach: How values are tested.
            document: Where they are.
            follows_arrays: Whether a path goes on inside the elements of arrays.
        """
        self._reach = reach
        self._document = document
        self._follows_arrays = follows_arrays

    def truth(self, test: Test, candidates: Sequence[Parts]) -> Expression:
        """Returns whether a test holds for the first of these paths that leads to something."""
        *first, last = candidates
        return case(
            *((self._truth(Exists(), parts), self._truth(test, parts)) for parts in first),
            otherwise=self._truth(test, last),
        )

    def values(self, candidates: Sequence[Parts]) -> list[Json]:
        """Returns what each of these paths leads to, arrays on the way not looked into."""
        return [self._document.whole(parts) for parts in candidates]

    def is_known(self, candidates: Sequence[Parts]) -> Expression:
        """Returns whether the first of these paths that leads to something leads to no null."""
        *first, last = candidates
        return case(
            *((self._truth(Exists(), parts), self._is_known(parts)) for parts in first),
            otherwise=self._is_known(last),
        )

    def _truth(self, test: Test, parts: Parts) -> Expression:
        value = self._document.value(parts)
        found = self._reach.anywhere(test, value)
        beyond = self._beyond(test, parts)
        if isinstance(test, Equal) and test.value is None:
            # What is missing must be told from what is elsewhere: in an array, or below.
            return case(
                (negated(value.is_missing()), found),
                *beyond,
                otherwise=negated(self._document.is_object(parts)),
            )
        conditions = [found, *(case(branch, otherwise=false()) for branch in beyond)]
        if isinstance(test, Exists) or (isinstance(test, TypeOf) and "object" in test.names):
            conditions.append(self._document.is_object(parts))
        return any_of(conditions)

    def _beyond(self, test: Test, parts: Parts) -> list[tuple[Expression, Expression]]:
        """Returns, for what may lie on the way: whether it does, and if the test holds in it."""
        if not self._reach.words.follows_paths:
            return []
        holders = [(self._document.value(parts[:i]), parts[i:]) for i in range(1, len(parts))]
        if not self._follows_arrays:
            if self._document.shows_objects:
                return []
            return [
                (holder.is_object(), self._reach.anywhere(test, self._reach.inside(holder, rest)))
                for holder, rest in reversed(holders)
            ]
        starts = [
            (self._is_holder(holder), self._reach.json(holder.json), rest)
            for holder, rest in holders
        ]
        if not starts:
            return []
        is_nearest = isinstance(test, Equal) and test.value is None
        inside = self._reach.along_all(test, starts, is_nearest=is_nearest)
        return [(any_of([is_holder for is_holder, _, _ in starts]), inside)]

    def _is_holder(self, value: Json) -> Expression:
        if self._document.shows_objects:
            return value.is_array()
        return any_of([value.is_array(), value.is_object()])

    def _is_known(self, parts: Parts) -> Expression:
        null = self._beyond(Equal(None), parts)
        return any_of([
            self._document.value(parts).is_known(),
            *(case((is_there, negated(is_null)), otherwise=false()) for is_there, is_null in null),
            self._document.is_object(parts),
        ])  # fmt: skip


class RawDocument:
    """A document as W&B holds it, for comparisons with whole objects."""

    def __init__(
        self, words: Vocabulary, reach: Reach, document: Expression, *, is_wrapped: bool
    ) -> None:
        """Takes the document.

        Args:
            words: The dialect's words.
            reach: How values are tested.
            document: Its JSON.
            is_wrapped: Whether values of the first level stand in `{"value": …, "desc": …}`.
        """
        self._words = words
        self._reach = reach
        self._document = document
        self._is_wrapped = is_wrapped

    def truth(self, test: Test, candidates: Sequence[Parts]) -> Expression:
        """Returns whether a test holds for what one of these paths leads to."""
        is_valid = self._words.is_valid(self._document)
        found = [self._found(test, parts) for parts in candidates]
        return case((is_valid, any_of(found)), otherwise=false())

    def _found(self, test: Test, parts: Parts) -> Expression:
        """Returns whether a test holds for what a path leads to, whatever its first key is."""
        starts: list[Start] = []
        for count in range(1, len(parts) + 1):
            held = self._reach.json(self._document).part(".".join(parts[:count]))
            json = held.json
            if self._is_wrapped:
                keys = [("value",), ("desc", "value")]
                is_wrapped = any_of([
                    self._words.has_keys(held.json, k, is_ordered=False) for k in keys
                ])  # fmt: skip
                wrapper = all_of([held.is_object(), is_wrapped])
                json = case((wrapper, held.part("value").json), otherwise=json)
            starts.append((is_not_null(held.json), self._reach.json(json), parts[count:]))
        return self._reach.along_all(test, starts)
