"""The few words of SQL that filters need, said in DuckDB's way; other dialects say them otherwise.

A JSON value is a VARCHAR of compact JSON throughout, and its first character tells its type: that
costs no parsing, and holds in every dialect. Paths into JSON are JSON pointers (RFC 6901), whose
two escapes cover every key.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.query.filters.logic import equals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from wbsync.query.filters.logic import Expression


def pointer(parts: Sequence[str]) -> str:
    """Returns the JSON pointer of a path of keys.

    >>> pointer(["a/b", "c~d", '"'])
    '/a~1b/c~0d/"'
    """
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


TYPES = {
    name: exp.DataType.build(name)
    for name in ("varchar", "varchar[]", "double", "bigint", "timestamp", "timestamptz", "jsonb")
}


def call(name: str, *arguments: Expression) -> Expression:
    """Returns a call of a function that sqlglot has no node for."""
    return exp.Anonymous(this=name, expressions=list(arguments))


class Vocabulary:
    """DuckDB's words."""

    dialect = "duckdb"
    extracts_together = True
    """Whether several paths into one document are best read in one call."""

    limits = ""
    """What filters cannot say, or say otherwise, in this dialect."""

    follows_paths = True
    """Whether there are words for a path into JSON that keep the type of what it finds."""

    def __init__(self) -> None:
        self._names = 0

    def sql(self, query: Expression, *, is_pretty: bool = False) -> str:
        """Returns the text of a query, in lines that people read or in one."""
        return query.sql(self.dialect, copy=False, pretty=is_pretty)

    def cast(self, value: Expression, to: str) -> Expression:
        """Returns a value as another type."""
        return exp.Cast(this=value, to=TYPES[to])

    def try_cast(self, value: Expression, to: str) -> Expression:
        """Returns a value as another type, NULL where it is none of it."""
        return exp.TryCast(this=value, to=TYPES[to], safe=True)

    def text(self, value: str) -> Expression:
        """Returns a text literal; NUL, which no SQL text may hold, is made by a function."""
        pieces: list[Expression] = []
        for index, piece in enumerate(value.split("\0")):
            if index:
                pieces.append(exp.Anonymous(this="chr", expressions=[self.whole(0)]))
            pieces.append(exp.Literal.string(piece))
        if len(pieces) == 1:
            return pieces[0]
        return exp.Concat(expressions=pieces, safe=False, coalesce=False)

    def whole(self, value: int) -> Expression:
        """Returns an integer literal of up to 64 bits."""
        number = exp.Literal.number(str(abs(value)))
        return exp.Neg(this=number) if value < 0 else number

    def double(self, value: float) -> Expression:
        """Returns a DOUBLE literal: an exponent keeps it from being read as a DECIMAL."""
        if not math.isfinite(value):
            name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            return self.cast(exp.Literal.string(name), "double")
        digits = repr(abs(value))
        number = exp.Literal.number(digits if "e" in digits else f"{digits}e0")
        return exp.Neg(this=number) if math.copysign(1, value) < 0 else number

    def instant(self, value: datetime) -> Expression:
        """Returns a TIMESTAMP literal, UTC without a zone as in the tables."""
        text = value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
        return self.cast(exp.Literal.string(text), "timestamp")

    def begins(self, text: Expression, start: str) -> Expression:
        """Returns whether a text begins so."""
        return exp.StartsWith(this=text, expression=self.text(start))

    def contains(self, text: Expression, part: str) -> Expression:
        """Returns whether a text contains another."""
        found = exp.StrPosition(this=text, substr=self.text(part))
        return exp.GT(this=found, expression=self.whole(0))

    def regex(self, text: Expression, pattern: str) -> Expression:
        """Returns whether a pattern is found in a text."""
        return exp.RegexpLike(this=text, expression=self.text(pattern))

    def is_big_integer(self, json: Expression) -> Expression:
        """Returns whether JSON text is an integer that a double may not hold exactly."""
        return self.regex(json, "^-?[0-9]{16,}$")

    def is_nan(self, number: Expression) -> Expression:
        """Returns whether a number is NaN."""
        return exp.IsNan(this=number)

    def to_double(self, json: Expression) -> Expression:
        """Returns the number that finite JSON text is, NULL for any other."""
        return self.try_cast(json, "double")

    def to_integer(self, number: Expression) -> Expression:
        """Returns a number without its fraction as a BIGINT, NULL where that does not hold it."""
        return self.try_cast(call("trunc", number), "bigint")

    def text_to_integer(self, text: Expression) -> Expression:
        """Returns the BIGINT that a text is, NULL where it is none."""
        return self.try_cast(text, "bigint")

    def is_valid(self, json: Expression) -> Expression:
        """Returns whether a text is JSON."""
        return call("json_valid", json)

    def decode(self, json: Expression) -> Expression:
        """Returns the text that a JSON string stands for."""
        return call("json_extract_string", json, exp.Literal.string("$"))

    def get(self, json: Expression, parts: Sequence[str]) -> Expression:
        """Returns the JSON at a path of keys, NULL where there is none; digits index arrays."""
        return self.cast(call("json_extract", json, self.text(pointer(parts))), "varchar")

    def get_all(self, json: Expression, paths: Sequence[Sequence[str]]) -> Expression:
        """Returns the list of the JSON at several paths, read in one pass."""
        pointers = exp.Array(expressions=[self.text(pointer(p)) for p in paths])
        return self.cast(call("json_extract", json, pointers), "varchar[]")

    def nth(self, items: Expression, index: int) -> Expression:
        """Returns an element of a list, counted from 0."""
        return call("list_extract", items, self.whole(index + 1))

    def elements(self, json: Expression) -> Expression:
        """Returns the elements of a JSON array as a list of JSON."""
        return self.cast(call("json_extract", json, exp.Literal.string("$[*]")), "varchar[]")

    def one(self, item: Expression) -> Expression:
        """Returns the list of one item."""
        return exp.Array(expressions=[item])

    def none(self) -> Expression:
        """Returns the list of no JSON."""
        return self.cast(exp.Array(expressions=[]), "varchar[]")

    def rest(self, text: Expression) -> Expression:
        """Returns a text without its first character."""
        return exp.Substring(this=text, start=self.whole(2))

    def length(self, json: Expression) -> Expression:
        """Returns the length of a JSON array."""
        return call("json_array_length", json)

    def has_keys(self, json: Expression, keys: Sequence[str], *, is_ordered: bool) -> Expression:
        """Returns whether a JSON object has just these keys, in this order or in any."""
        found = call("json_keys", json)
        if not is_ordered:
            found, keys = call("list_sort", found), sorted(keys, key=str.encode)
        if not keys:
            return equals(call("len", found), self.whole(0))
        return equals(found, exp.Array(expressions=[self.text(k) for k in keys]))

    def has_key_below(self, json: Expression, prefix: str) -> Expression:
        """Returns whether a JSON object has a key that begins so."""
        return self.any(call("json_keys", json), lambda key: self.begins(key, prefix))

    def any(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns whether a test holds for an item of a list."""
        return exp.GT(this=call("len", self.filter(items, test)), expression=self.whole(0))

    def filter(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns the items of a list for which a test holds."""
        return call("list_filter", items, self.lambda_(test))

    def map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns what becomes of each item of a list."""
        return call("list_transform", items, self.lambda_(change))

    def flat_map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns the lists that become of each item of a list, as one."""
        return call("flatten", self.map(items, change))

    def append(self, items: Expression, item: Expression) -> Expression:
        """Returns a list with one more item."""
        return call("list_append", items, item)

    def concat(self, items: Expression, more: Expression) -> Expression:
        """Returns two lists as one."""
        return call("list_concat", items, more)

    def lambda_(self, body: Callable[[Expression], Expression]) -> exp.Lambda:
        """Returns a function of one item, which is named as no other in this query."""
        name = self.fresh()
        return exp.Lambda(this=body(exp.column(name)), expressions=[exp.to_identifier(name)])

    def fresh(self) -> str:
        """Returns a name that no other lambda of this query has."""
        self._names += 1
        return f"e{self._names}"

    def list_of(self, column: Expression) -> Expression:
        """Returns the aggregate that collects texts into one JSON array."""
        return self.cast(call("to_json", call("list", column)), "varchar")
