"""Values inside JSON documents: JSON text, and leaves as their own tables hold them."""

from __future__ import annotations

import json as jsonlib
import math
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.model import MAX_EXACT, NON_FINITE
from wbsync.query.filters.logic import (
    all_of,
    among,
    any_of,
    case,
    equals,
    false,
    is_not_null,
    is_not_true,
    is_null,
    negated,
    true,
)
from wbsync.query.filters.operands import integer_digits, is_nan
from wbsync.query.filters.values import (
    Value,
    compare_double,
    is_on_side,
    is_same,
)

if TYPE_CHECKING:
    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.tree import Operand
    from wbsync.query.filters.vocabulary import Vocabulary

    Parts = tuple[str, ...]

INT_RANGE = (-(2**31), 2**31 - 1)
LONG_RANGE = (-(2**63), 2**63 - 1)


class Json(Value):
    """A value as JSON text; NULL is a missing one."""

    def __init__(
        self,
        words: Vocabulary,
        json: Expression,
        parts: Parts = (),
        *,
        is_ordered: bool = False,
    ) -> None:
        """Takes the text.

        Args:
            words: The dialect's words.
            json: JSON text, as the warehouse or DuckDB writes it.
            parts: Keys that lead from it to the value.
            is_ordered: Whether the keys of objects stand in the order in which W&B holds them.
        """
        super().__init__(words)
        self._json = json
        self._parts = parts
        self._is_ordered = is_ordered

    @property
    def json(self) -> Expression:
        """The text, or NULL."""
        return self.words.get(self._json, self._parts) if self._parts else self._json

    def part(self, key: str) -> Json:
        """Returns what a key leads to inside an object, or a place inside an array."""
        return Json(self.words, self._json, (*self._parts, key), is_ordered=self._is_ordered)

    def number(self) -> Expression:
        """Returns its number where that is finite; NULL where it is none, or a boolean."""
        return self.words.to_double(self.json)

    def is_special(self, number: float) -> Expression:
        """Returns whether it is NaN, Infinity or -Infinity."""
        return among(
            self.json,
            [self.words.text(f'"{n}"') for n, v in NON_FINITE.items() if is_same(v, number)],
        )

    def is_missing(self) -> Expression:
        """Returns whether there is none."""
        return is_null(self.json)

    def is_null(self) -> Expression:
        """Returns whether it is null."""
        return equals(self.json, self.words.text("null"))

    def is_array(self) -> Expression:
        """Returns whether it is an array."""
        return self.words.begins(self.json, "[")

    def is_object(self) -> Expression:
        """Returns whether it is an object."""
        return self.words.begins(self.json, "{")

    def elements(self) -> tuple[Expression, Expression] | None:
        """Returns whether it is an array, and the list of its elements as JSON."""
        return self.is_array(), self.words.elements(self.json)

    def is_text(self) -> Expression:
        """Returns whether it is a text, and none of those that stand for numbers."""
        special = among(self.json, [self.words.text(f'"{n}"') for n in NON_FINITE])
        return all_of([self.words.begins(self.json, '"'), negated(special)])

    def is_number(self) -> Expression:
        """Returns whether it is a number."""
        return any_of([is_not_null(self.number()), *map(self.is_special, NON_FINITE.values())])

    def is_type(self, name: str) -> Expression:
        """Returns whether it is of a type that MongoDB names so."""
        if name == "null":
            return self.is_null()
        if name == "bool":
            return any_of([self._equals_bool(True), self._equals_bool(False)])
        if name == "string":
            return self.is_text()
        if name == "array":
            return self.is_array()
        if name == "object":
            return self.is_object()
        if name == "number":
            return self.is_number()
        if name == "int":
            return self._is_whole(*INT_RANGE)
        if name == "long":
            return all_of([self._is_whole(*LONG_RANGE), is_not_true(self._is_whole(*INT_RANGE))])
        if name == "double":
            return all_of([self.is_number(), is_not_true(self._is_whole(*LONG_RANGE))])
        return false()

    def _is_whole(self, low: int, high: int) -> Expression:
        number = self.number()
        return all_of([
            self._compare_number(">=", low),
            self._compare_number("<=", high),
            equals(exp.Floor(this=number), number),
        ])  # fmt: skip

    def leaves(self, divisor: int, remainder: int) -> Expression:
        """Returns whether it leaves a remainder; one of a negative number is negative."""
        big = self.words.text_to_integer(self.json)
        plain = self.words.to_integer(self.number())
        whole = case((self._is_big(), big), otherwise=plain)
        left = exp.Mod(this=exp.Paren(this=whole), expression=self.words.whole(divisor))
        return equals(left, self.words.whole(remainder))

    def has_length(self, length: int) -> Expression:
        """Returns whether it is an array of this length."""
        return all_of([
            self.is_array(), equals(self.words.length(self.json), self.words.whole(length)),
        ])  # fmt: skip

    def equals_whole(self, operand: Any) -> Expression:
        """Returns whether it equals a list, element by element, or an object, key by key."""
        if isinstance(operand, tuple):
            parts = [self._part_equals(str(i), v) for i, v in enumerate(operand)]
            return all_of([self.has_length(len(operand)), *parts])
        keys = [k for k, _ in operand.items]
        parts = [self._part_equals(k, v) for k, v in operand.items]
        same = self.words.has_keys(self.json, keys, is_ordered=self._is_ordered)
        return all_of([self.is_object(), same, *parts])

    def _part_equals(self, key: str, operand: Operand) -> Expression:
        """Returns whether a part equals an operand; only null is null here."""
        part = self.part(key)
        return part.is_null() if operand is None else part.equal(operand)

    def compare(self, op: str, operand: Operand) -> Expression:
        """Returns whether it is on a side of an operand of its own type."""
        is_special = isinstance(operand, str) and operand in NON_FINITE
        return super().compare(op, NON_FINITE[str(operand)] if is_special else operand)

    def _of_text(self, test: Any) -> Expression:
        return all_of([self.is_text(), test(self.words.decode(self.json))])

    def _equals_text(self, texts: list[str]) -> Expression:
        found: list[Expression] = []
        coded: list[Expression] = []
        odd: list[Expression] = []
        for text in texts:
            if text in NON_FINITE:
                found.append(self._compare_number("=", NON_FINITE[text]))
            elif all(c >= " " for c in text):
                coded.append(self.words.text(jsonlib.dumps(text, ensure_ascii=False)))
            else:
                # JSON writes control characters in more than one way, all others in one.
                odd.append(self.words.text(text))
        if coded:
            found.append(among(self.json, coded))
        if odd:
            found.append(self._of_text(lambda text: among(text, odd)))
        return any_of(found)

    def _equals_number(self, numbers: list[float]) -> Expression:
        plain: list[Expression] = []
        others: list[Expression] = []
        for number in numbers:
            if -MAX_EXACT < number < MAX_EXACT:
                plain.append(self.words.double(float(number)))
            else:
                others.append(self._compare_number("=", number))
        return any_of([among(self.number(), plain), *others])

    def _compare_number(self, op: str, number: Any) -> Expression:
        found = self._compare_double(op, number)
        if is_nan(number) or -MAX_EXACT < number < MAX_EXACT:
            return found
        return case((self._is_big(), self._compare_digits(op, number)), otherwise=found)

    def _compare_double(self, op: str, number: Any) -> Expression:
        finite = [] if is_nan(number) else [compare_double(op, self.number(), number, self.words)]
        specials = [self.is_special(v) for v in NON_FINITE.values() if is_on_side(op, v, number)]
        return any_of([*finite, *specials])

    def sort_keys(self) -> list[Expression]:
        """Returns its rank among types, then its number or text."""
        words = self.words
        ranks = [
            (any_of([self.is_missing(), self.is_null()]), 0),
            (self.is_special(math.nan), 1),
            (self.is_number(), 2),
            (self.is_text(), 3),
            (self.is_object(), 4),
            (self.is_array(), 5),
        ]
        rank = case(*((c, words.whole(r)) for c, r in ranks), otherwise=words.whole(6))
        text = case(
            (self.is_text(), words.decode(self.json)), (self.is_null(), exp.null()),
            otherwise=self.json,
        )  # fmt: skip
        number = case(
            *((self.is_special(v), words.double(v)) for v in (math.inf, -math.inf)),
            otherwise=self.number(),
        )
        return [rank, number, words.text_to_integer(self.json), text]

    def shown(self, as_type: str | None = None) -> Expression:
        """Returns its number or text; of what is mixed, a text."""
        if as_type == "double":
            return self.sort_keys()[1]
        if as_type == "bigint":
            whole = self.words.text_to_integer(self.json)
            return exp.Coalesce(this=whole, expressions=[self.words.to_integer(self.number())])
        if as_type == "boolean":
            return case(
                (self.is_missing(), exp.null()), (self.is_null(), exp.null()),
                otherwise=self._equals_bool(True),
            )  # fmt: skip
        return case(
            (self.is_text(), self.words.decode(self.json)),
            (self.is_null(), exp.null()),
            (is_not_null(self.json), self.json),
            otherwise=self.words.cast(self.number(), "varchar"),
        )

    def _is_big(self) -> Expression:
        """Returns whether it is an integer that a double may not hold exactly."""
        return self.words.is_big_integer(self.json)

    def _compare_digits(self, op: str, number: Any) -> Expression:
        """Returns whether digits of any length are on a side of a number, exactly."""
        if isinstance(number, float) and math.isinf(number):
            return true() if op != "=" and is_on_side(op, 0, number) else false()
        digits, is_negative = integer_digits(int(number)), number < 0
        same = equals(self.json, self.words.text(digits))
        if op == "=":
            return same
        minus = self.words.begins(self.json, "-")
        is_like = minus if is_negative else negated(minus)
        if (">" in op) is not is_negative:
            # Farther from zero than the operand, and on the same side of it.
            found = all_of([is_like, self._is_longer(digits, exp.GT)])
        else:
            found = any_of([negated(is_like), self._is_longer(digits, exp.LT)])
        return any_of([found, same]) if "=" in op else found

    def _is_longer(self, digits: str, side: type[exp.Binary]) -> Expression:
        """Returns whether digits of one sign are farther from zero than others, or nearer."""
        length = exp.Length(this=self.json)
        size = self.words.whole(len(digits))
        return any_of([
            side(this=length, expression=size),
            all_of([
                equals(length, size),
                side(this=self.json, expression=self.words.text(digits)),
            ]),
        ])  # fmt: skip

    def _equals_bool(self, operand: bool) -> Expression:
        return equals(self.json, self.words.text("true" if operand else "false"))


class Leaf(Json):
    """A leaf as its own table holds it: a number, or JSON for what is no exact double."""

    def __init__(self, words: Vocabulary, number: Expression, json: Expression) -> None:
        """Takes its columns.

        Args:
            words: The dialect's words.
            number: Its number, infinities included; NULL for NaN and booleans.
            json: Its JSON; NULL where the number says it all.
        """
        super().__init__(words, json)
        self._number = number

    def number(self) -> Expression:
        """Returns its number; NULL where it is none, NaN or a boolean."""
        return self._number

    def is_special(self, number: float) -> Expression:
        """Returns whether it is NaN, Infinity or -Infinity."""
        if is_nan(number):
            return super().is_special(number)
        return equals(self._number, self.words.double(number))

    def is_missing(self) -> Expression:
        """Returns whether there is none."""
        return all_of([is_null(self._number), is_null(self.json)])

    def is_number(self) -> Expression:
        """Returns whether it is a number."""
        return any_of([is_not_null(self._number), self.is_special(math.nan)])

    def _compare_double(self, op: str, number: Any) -> Expression:
        if is_nan(number):
            return self.is_special(number) if "=" in op else false()
        return compare_double(op, self._number, number, self.words)
