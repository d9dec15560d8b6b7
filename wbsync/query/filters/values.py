"""Values as SQL holds them, and what each test says of one value.

A test of a value is TRUE where it holds, and FALSE or NULL where it does not; whoever negates it
sees to the NULL. Types are compared before values: `"0.1"` is not 0.1, true is not 1, and a number
is neither above nor below a text. NaN equals itself, and is on no side of any number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.query.filters.logic import (
    all_of,
    any_of,
    equals,
    false,
    is_not_true,
    negated,
)
from wbsync.query.filters.operands import is_nan
from wbsync.query.filters.tree import (
    Compare,
    Contains,
    Document,
    Equal,
    Exists,
    In,
    Mod,
    OneOf,
    Regex,
    Size,
    TypeOf,
)

if TYPE_CHECKING:
    from datetime import datetime

    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.tree import Operand, Test
    from wbsync.query.filters.vocabulary import Vocabulary

SIDES: dict[str, type[exp.Binary]] = {"<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE}


def compared(op: str, one: Expression, other: Expression) -> Expression:
    """Returns a comparison; `=` is one, too."""
    return equals(one, other) if op == "=" else SIDES[op](this=one, expression=other)


class Value(ABC):
    """A value that a row holds, or lacks."""

    def __init__(self, words: Vocabulary) -> None:
        self.words = words

    @abstractmethod
    def is_missing(self) -> Expression:
        """Returns whether there is none."""

    def is_null(self) -> Expression:
        """Returns whether it is null and not missing."""
        return false()

    def is_known(self) -> Expression:
        """Returns whether it is what SQL calls a value: neither missing nor null."""
        return all_of([negated(self.is_missing()), is_not_true(self.is_null())])

    def elements(self) -> tuple[Expression, Expression] | None:
        """Returns whether it is an array, and the list of its elements as JSON; None if never."""
        return None

    @abstractmethod
    def sort_keys(self) -> list[Expression]:
        """Returns what puts it in MongoDB's order, ascending and NULL first."""

    @abstractmethod
    def shown(self, as_type: str | None = None) -> Expression:
        """Returns what is shown of it.

        Args:
            as_type: double, bigint, boolean or text where it is known to be only that, else None.
        """

    def holds(self, test: Test) -> Expression:
        """Returns whether a test holds for the value itself, not for its elements."""
        if isinstance(test, Equal):
            return self.equal(test.value)
        if isinstance(test, In):
            return self.is_among(test.values)
        if isinstance(test, Compare):
            return self.compare(test.op, test.value)
        if isinstance(test, Exists):
            return negated(self.is_missing())
        if isinstance(test, TypeOf):
            return any_of([self.is_type(name) for name in sorted(test.names)])
        if isinstance(test, Regex):
            return self._of_text(lambda text: self.words.regex(text, test.pattern))
        if isinstance(test, Contains):
            return self._of_text(lambda text: self.words.contains(text, test.text))
        if isinstance(test, Mod):
            return self.leaves(test.divisor, test.remainder)
        if isinstance(test, Size):
            return self.has_length(test.length)
        if isinstance(test, OneOf):
            return any_of([self.holds(inner) for inner in test.tests])
        raise AssertionError(test)

    def equal(self, operand: Operand) -> Expression:
        """Returns whether it equals an operand; null equals a missing value, too."""
        if operand is None:
            return any_of([self.is_missing(), self.is_null()])
        return self.is_among((operand,))

    def is_among(self, operands: tuple[Operand, ...]) -> Expression:
        """Returns whether it equals one of the operands."""
        found: list[Expression] = []
        by_type: dict[str, list[Any]] = {}
        for operand in operands:
            by_type.setdefault(_type_of(operand), []).append(operand)
        for name, same in by_type.items():
            if name == "null":
                found.append(self.equal(None))
            elif name == "text":
                found.append(self._equals_text(same))
            elif name == "number":
                found.append(self._equals_number(same))
            elif name == "bool":
                found += [self._equals_bool(b) for b in dict.fromkeys(same)]
            elif name == "time":
                found += [self._compare_time("=", t) for t in same]
            else:
                found += [self.equals_whole(v) for v in same]
        return any_of(found)

    def compare(self, op: str, operand: Operand) -> Expression:
        """Returns whether it is on a side of an operand of its own type."""
        if operand is None:
            return self.equal(None) if "=" in op else false()
        name = _type_of(operand)
        if name == "number":
            return self._compare_number(op, operand)
        if name == "text":
            return self._of_text(lambda t: compared(op, t, self.words.text(str(operand))))
        if name == "time":
            return self._compare_time(op, operand)  # type: ignore[arg-type]
        if name == "bool":
            return any_of(
                [self._equals_bool(b) for b in (False, True) if is_on_side(op, b, operand)]
            )
        return false()

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so."""
        del name
        return false()

    def leaves(self, divisor: int, remainder: int) -> Expression:
        """Returns whether it leaves a remainder when it is divided."""
        del divisor, remainder
        return false()

    def has_length(self, length: int) -> Expression:
        """Returns whether it is an array of this length."""
        del length
        return false()

    def equals_whole(self, operand: Any) -> Expression:
        """Returns whether it equals a list or an object."""
        del operand
        return false()

    def _of_text(self, test: Any) -> Expression:
        del test
        return false()

    def _equals_text(self, texts: list[str]) -> Expression:
        del texts
        return false()

    def _equals_number(self, numbers: list[float]) -> Expression:
        return any_of([self._compare_number("=", n) for n in numbers])

    def _compare_number(self, op: str, number: Any) -> Expression:
        del op, number
        return false()

    def _equals_bool(self, operand: bool) -> Expression:
        del operand
        return false()

    def _compare_time(self, op: str, instant: datetime) -> Expression:
        del op, instant
        return false()


def _type_of(operand: Operand) -> str:
    if operand is None:
        return "null"
    if isinstance(operand, bool):
        return "bool"
    if isinstance(operand, (int, float)):
        return "number"
    if isinstance(operand, str):
        return "text"
    return "whole" if isinstance(operand, (tuple, Document)) else "time"


def is_on_side(op: str, one: Any, other: Any) -> bool:
    """Says whether a number or boolean is on a side of another; NaN equals NaN."""
    if op == "=" or (op in {"<=", ">="} and is_nan(other)):
        return is_same(one, other)
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[op])


def is_same(one: Any, other: Any) -> bool:
    """Says whether two numbers or booleans are equal; NaN is equal to itself."""
    return (is_nan(one) and is_nan(other)) or bool(one == other)


def compare_double(op: str, held: Expression, operand: Any, words: Vocabulary) -> Expression:
    """Returns whether a DOUBLE that is held is on a side of a number, exactly.

    Args:
        op: `=`, `<`, `<=`, `>` or `>=`.
        held: The DOUBLE; where it is NaN the answer means nothing.
        operand: A number but NaN, of any size: one that no double equals lies between two of them.
        words: The dialect's words.
    """
    try:
        nearest = float(operand)
    except OverflowError:
        nearest = math.inf if operand > 0 else -math.inf
    if nearest > operand:
        op = {"=": "", "<=": "<", ">": ">="}.get(op, op)
    elif nearest < operand:
        op = {"=": "", "<": "<=", ">=": ">"}.get(op, op)
    return compared(op, held, words.double(nearest)) if op else false()


def compare_any_double(op: str, held: Expression, operand: Any, words: Vocabulary) -> Expression:
    """Returns whether a DOUBLE that is held, be it NaN, is on a side of a number, exactly."""
    if is_nan(operand):
        return words.is_nan(held) if "=" in op else false()
    found = compare_double(op, held, operand, words)
    if ">" not in op:
        return found
    # SQL puts NaN above all numbers, or on no side: this is right for both.
    return all_of([found, compared("<=", held, words.double(math.inf))])
