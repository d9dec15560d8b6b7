"""Follows a path into JSON as MongoDB does, where arrays may lie on the way.

* A test of an array holds where it holds for an element, or for the array as a whole.
* A key that meets an array is looked up in each element that is an object.
* A number that meets an array is also a place in it; what lies there is taken as it is, its
  elements not looked at one by one.

A path is followed step by step: the list of what the keys so far lead to becomes the list of what
the next one leads to, and the test is written down once, for an item of the last list. A test
inside a test inside a test would be shorter, but DuckDB binds the body of a lambda twice, so that
each level doubles the time (measured).

Source: MongoDB's manual, "Query an Array"; mongo/db/matcher/path.cpp.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.query.filters.json_values import Json
from wbsync.query.filters.logic import all_of, any_of, case, false, is_not_null, true
from wbsync.query.filters.tree import ElementMatches, Exists, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.tree import Test
    from wbsync.query.filters.values import Value
    from wbsync.query.filters.vocabulary import Vocabulary

    Start = tuple[Expression, Json, Sequence[str]]

WHOLE_TESTS = (Exists, Size, ElementMatches)
"""Tests that look at an array, never at its elements."""

PLACED = "@"
"""Stands before the JSON of an item that a number led to: no JSON begins so."""

_INDEX = re.compile(r"0|[1-9][0-9]*")


class Reach:
    """Tests of values, wherever a path leads to them."""

    def __init__(
        self,
        words: Vocabulary,
        matches: Callable[[ElementMatches, Expression], Expression],
        *,
        is_ordered: bool = False,
    ) -> None:
        """Takes what it needs.

        Args:
            words: The dialect's words.
            matches: Returns whether an element, as JSON, passes `$elemMatch`.
            is_ordered: Whether the keys of objects stand in W&B's order.
        """
        self.words = words
        self._matches = matches
        self._is_ordered = is_ordered

    def holds(self, test: Test, value: Value) -> Expression:
        """Returns whether a test holds for a value itself."""
        if not isinstance(test, ElementMatches):
            return value.holds(test)
        array = value.elements()
        if array is None:
            return false()
        is_array, items = array
        found = self.words.any(items, lambda item: self._matches(test, item))
        return case((is_array, found), otherwise=false())

    def anywhere(self, test: Test, value: Value) -> Expression:
        """Returns whether a test holds for a value, or for an element of it."""
        array = value.elements()
        if array is None or isinstance(test, WHOLE_TESTS):
            return self.holds(test, value)
        if isinstance(value, Json) and not isinstance(value.json, exp.Column):
            # What is no column would be read anew at each mention.
            return self._any(test, self._opened(value))
        found = self.holds(test, value)
        is_array, items = array
        return any_of([found, case((is_array, self._any(test, items)), otherwise=false())])

    def along(self, test: Test, start: Json, parts: Sequence[str]) -> Expression:
        """Returns whether a test holds for what a path leads to.

        Args:
            test: The test.
            start: Where the path starts: the value of a key.
            parts: Keys that are left to follow.
        """
        return self.along_all(test, [(true(), start, parts)])

    def along_all(
        self, test: Test, starts: Sequence[Start], *, is_nearest: bool = False
    ) -> Expression:
        """Returns whether a test holds for what paths lead to that end alike.

        The keys that they share are written down once, so that a path of n keys, which may start
        after each of them, costs n steps.

        Args:
            test: The test.
            starts: Whether one of them is to be followed, where it starts, and the keys that are
                left, each path's one fewer than those of the path before.
            is_nearest: Whether the last that is to be followed alone counts.
        """
        items: Expression | None = None
        has_places = False
        for is_start, start, parts in starts:
            if not parts:
                # Nothing is left of this one: it is tested as it is.
                found = case((is_start, self.anywhere(test, start)), otherwise=false())
                if items is None:
                    return found
                return any_of([self._tested(test, items, has_places=has_places), found])
            key = parts[0]
            more = None
            if items is not None:
                more = self.words.flat_map(items, partial(self._next, key, has_places))
            here = self._step(start, key, has_places=False)
            if is_nearest and more is not None:
                items = case((is_start, here), otherwise=more)
            else:
                here = case((is_start, here), otherwise=self.words.none())
                items = here if more is None else self.words.concat(more, here)
            has_places = has_places or _INDEX.fullmatch(key) is not None
        assert items is not None
        for key in starts[-1][2][1:]:
            items = self.words.flat_map(items, partial(self._next, key, has_places))
            has_places = has_places or _INDEX.fullmatch(key) is not None
        return self._tested(test, items, has_places=has_places)

    def _tested(self, test: Test, items: Expression, *, has_places: bool) -> Expression:
        if not isinstance(test, WHOLE_TESTS) or has_places:
            items = self.words.flat_map(items, lambda i: self._end(test, i, has_places=has_places))
        return self._any(test, items)

    def _next(self, key: str, has_places: bool, item: Expression) -> Expression:
        return self._step(self.json(item), key, has_places=has_places)

    def _any(self, test: Test, items: Expression) -> Expression:
        return self.words.any(items, lambda item: self.holds(test, self.json(item)))

    def _opened(self, value: Json) -> Expression:
        """Returns the list of a value, and of its elements where it is an array."""
        elements = self.words.append(self.words.elements(value.json), value.json)
        return case((value.is_array(), elements), otherwise=self.words.one(value.json))

    def _step(self, value: Json, key: str, *, has_places: bool) -> Expression:
        """Returns the list of what a key leads to from a value."""
        words = self.words
        placed = self._unplaced(value.json) if has_places else None
        inner = value if placed is None else self.json(placed)
        objects = words.filter(words.elements(inner.json), lambda e: self.json(e).is_object())
        found = words.map(objects, lambda e: self.json(e).part(key).json)
        if _INDEX.fullmatch(key):
            place = words.get(inner.json, [key])
            marked = exp.Concat(expressions=[words.text(PLACED), place], safe=False, coalesce=False)
            is_there = is_not_null(place)
            found = case((is_there, words.append(found, marked)), otherwise=found)
        branches = [(inner.is_array(), found)]
        if placed is not None:
            # Of what a number led to, a number or text leads nowhere: it is not even missing.
            is_scalar = all_of([
                words.begins(value.json, PLACED), exp.Not(this=exp.Paren(this=inner.is_object())),
            ])  # fmt: skip
            branches.append((is_scalar, words.none()))
        return case(*branches, otherwise=words.one(words.get(inner.json, [key])))

    def _end(self, test: Test, item: Expression, *, has_places: bool) -> Expression:
        """Returns the list of what is tested of an item: itself, and its elements."""
        value = self.json(item)
        opened = self.words.one(value.json)
        if not isinstance(test, WHOLE_TESTS):
            opened = self._opened(value)
        if not has_places:
            return opened
        placed = self.words.one(self.words.rest(value.json))
        return case((self.words.begins(value.json, PLACED), placed), otherwise=opened)

    def _unplaced(self, json: Expression) -> Expression:
        is_placed = self.words.begins(json, PLACED)
        return case((is_placed, self.words.rest(json)), otherwise=json)

    def inside(self, value: Json, parts: Sequence[str]) -> Json:
        """Returns what a path of keys leads to inside an object."""
        return self.json(self.words.get(value.json, parts))

    def json(self, json: Expression) -> Json:
        """Returns JSON text as a value."""
        return Json(self.words, json, is_ordered=self._is_ordered)
