"""Values in columns of one type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.query.filters.logic import (
    among,
    case,
    equals,
    false,
    is_not_null,
    is_null,
    negated,
    true,
)
from wbsync.query.filters.values import Value, compare_any_double, compared

if TYPE_CHECKING:
    from datetime import datetime

    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.vocabulary import Vocabulary


class Plain(Value):
    """A column of one type."""

    def __init__(self, words: Vocabulary, column: Expression) -> None:
        super().__init__(words)
        self._column = column

    def is_missing(self) -> Expression:
        """Returns whether there is none."""
        return is_null(self._column)

    def sort_keys(self) -> list[Expression]:
        """Returns the column."""
        return [self._column]

    def shown(self, as_type: str | None = None) -> Expression:
        """Returns the column."""
        del as_type
        return self._column


class Text(Plain):
    """A text column."""

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so."""
        return is_not_null(self._column) if name == "string" else false()

    def _of_text(self, test: Any) -> Expression:
        return test(self._column)  # type: ignore[no-any-return]

    def _equals_text(self, texts: list[str]) -> Expression:
        return among(self._column, [self.words.text(t) for t in texts])


class Number(Plain):
    """A number column."""

    def _double(self) -> Expression:
        return self.words.cast(self._column, "double")

    def sort_keys(self) -> list[Expression]:
        """Returns NaN below all numbers."""
        is_nan_ = self.words.is_nan(self._double())
        rank = case((self.is_missing(), exp.null()), otherwise=negated(is_nan_))
        return [rank, self._column]

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so: a column is all of one."""
        return is_not_null(self._column) if name in {"number", "double"} else false()

    def leaves(self, divisor: int, remainder: int) -> Expression:
        """Returns whether it leaves a remainder."""
        whole = exp.Paren(this=self.words.to_integer(self._double()))
        left = exp.Mod(this=whole, expression=self.words.whole(divisor))
        return equals(left, self.words.whole(remainder))

    def _compare_number(self, op: str, number: Any) -> Expression:
        return compare_any_double(op, self._double(), number, self.words)


class Time(Plain):
    """An instant, in UTC."""

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so."""
        return is_not_null(self._column) if name == "date" else false()

    def _compare_time(self, op: str, instant: datetime) -> Expression:
        return compared(op, self._column, self.words.instant(instant))


class Numbered(Text):
    """A version: its text, and the number in it."""

    def __init__(self, words: Vocabulary, column: Expression, number: Expression) -> None:
        super().__init__(words, column)
        self._number = Number(words, number)

    def sort_keys(self) -> list[Expression]:
        """Returns its number: v10 stands after v9."""
        return self._number.sort_keys()

    def _compare_number(self, op: str, number: Any) -> Expression:
        return self._number.compare(op, number) if op != "=" else self._number.equal(number)


class Boolean(Plain):
    """Something that is true or false, and never missing."""

    def is_missing(self) -> Expression:
        """Returns whether there is none."""
        return false()

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so."""
        return true() if name == "bool" else false()

    def _equals_bool(self, operand: bool) -> Expression:
        found = self._column
        return found if operand else exp.Not(this=exp.Coalesce(this=found, expressions=[false()]))


class Mark(Plain):
    """An object that is there or not, and of which nothing more is known."""

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so."""
        return is_not_null(self._column) if name == "object" else false()

    def sort_keys(self) -> list[Expression]:
        """Returns whether it is there."""
        return [is_not_null(self._column)]

    def shown(self, as_type: str | None = None) -> Expression:
        """Returns whether it is there."""
        del as_type
        return is_not_null(self._column)
