"""The words of other engines, for the same tables where they hold them: the lake's, or a copy.

Spark's were run on Sail, and PostgreSQL's on version 15, over the whole truth table; those of
Trino, Snowflake and BigQuery are checked for their grammar only. Regular expressions are each
engine's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.errors import ConfigError, UnsupportedOperatorError
from wbsync.query.filters.logic import all_of, case, equals, is_not_null
from wbsync.query.filters.vocabulary import TYPES, Vocabulary, call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from wbsync.query.filters.logic import Expression


class Other(Vocabulary):
    """What the other dialects have in common."""

    extracts_together = False
    limits = "the order of keys does not count in objects; regexes are the engine's own"

    def sql(self, query: Expression, *, is_pretty: bool = False) -> str:
        """Returns the text of a query, in lines that people read or in one."""
        return query.sql(self.dialect, pretty=is_pretty)

    def text(self, value: str) -> Expression:
        """Returns a text literal."""
        if "\0" in value:
            raise UnsupportedOperatorError(
                f"a text with NUL cannot be written for {self.dialect}", operator=""
            )
        return exp.Literal.string(value)

    def instant(self, value: datetime) -> Expression:
        """Returns an instant; the lake's columns have a time zone."""
        text = value.isoformat(sep=" ", timespec="microseconds")
        return self.cast(exp.Literal.string(text), "timestamptz")

    def has_keys(self, json: Expression, keys: Sequence[str], *, is_ordered: bool) -> Expression:
        """Returns whether a JSON object has just these keys; their order is not known here."""
        del is_ordered
        wanted = exp.Array(expressions=[self.text(k) for k in sorted(keys)])
        return equals(self.sorted_keys(json), wanted)

    def sorted_keys(self, json: Expression) -> Expression:
        """Returns the keys of a JSON object, in order."""
        raise self.unsupported(json, "comparisons with whole objects")

    def has_key_below(self, json: Expression, prefix: str) -> Expression:
        """Returns whether a JSON object has a key that begins so."""
        return self.any(self.sorted_keys(json), lambda key: self.begins(key, prefix))

    def is_valid(self, json: Expression) -> Expression:
        """Returns whether there is JSON."""
        return is_not_null(json)

    def unsupported(self, _: Expression, what: str) -> UnsupportedOperatorError:
        """Returns the error for what this dialect has no words for."""
        return UnsupportedOperatorError(
            f"{what} cannot be written for {self.dialect}; they can for duckdb", operator=""
        )


class Spark(Other):
    """Spark's words, which Sail runs.

    Spark's functions for JSON give texts without their quotes, so that `"1"` and 1 are the same to
    them. Lists are therefore taken apart by a regex, and only those without lists, objects and
    brackets in them; paths are not followed into lists and media.
    """

    dialect = "spark"
    follows_paths = False
    limits = (
        "paths are not followed into lists and media, and only lists of numbers and texts without"
        " brackets are looked into; regexes are Java's"
    )

    def to_integer(self, number: Expression) -> Expression:
        """Returns a number without its fraction as a BIGINT, NULL where that does not hold it."""
        return self.try_cast(number, "bigint")

    def decode(self, json: Expression) -> Expression:
        """Returns the text that a JSON string stands for."""
        return call("get_json_object", json, exp.Literal.string("$"))

    def get(self, json: Expression, parts: Sequence[str]) -> Expression:
        """Refuses: the type of what it finds would be lost."""
        del parts
        raise self.unsupported(json, "paths into JSON")

    def elements(self, json: Expression) -> Expression:
        """Returns the elements of a JSON array of numbers and texts."""
        rest = self.rest(json)
        size = exp.Sub(this=exp.Length(this=json), expression=self.whole(2))
        inner = exp.Substring(this=json, start=self.whole(2), length=exp.Paren(this=size))
        token = exp.Literal.string(r'"(?:[^"\\]|\\.)*"|[^,]+')
        tokens = call("regexp_extract_all", inner, token, self.whole(0))
        has_more = exp.RegexpLike(this=rest, expression=exp.Literal.string(r"[\[{]"))
        return case((has_more, self.none()), otherwise=tokens)

    def none(self) -> Expression:
        """Returns the list of no JSON."""
        return exp.Cast(this=call("array"), to=TYPES["varchar[]"])

    def any(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns whether a test holds for an item of a list."""
        return call("exists", items, self.lambda_(test))

    def filter(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns the items of a list for which a test holds."""
        return call("filter", items, self.lambda_(test))

    def map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns what becomes of each item of a list."""
        return call("transform", items, self.lambda_(change))

    def concat(self, items: Expression, more: Expression) -> Expression:
        """Returns two lists as one."""
        return call("concat", items, more)

    def append(self, items: Expression, item: Expression) -> Expression:
        """Returns a list with one more item."""
        return call("array_append", items, item)

    def list_of(self, column: Expression) -> Expression:
        """Returns the aggregate that collects texts into one JSON array."""
        return call("to_json", call("collect_list", column))


class Trino(Other):
    """Trino's words."""

    dialect = "trino"

    def to_integer(self, number: Expression) -> Expression:
        """Returns a number without its fraction as a BIGINT, NULL where that does not hold it."""
        return self.try_cast(call("truncate", number), "bigint")

    def decode(self, json: Expression) -> Expression:
        """Returns the text that a JSON string stands for."""
        return call("json_extract_scalar", json, exp.Literal.string("$"))

    def get(self, json: Expression, parts: Sequence[str]) -> Expression:
        """Returns the JSON at a path of keys, NULL where there is none."""
        path = "$" + "".join(_bracketed(part) for part in parts)
        return call("json_format", call("json_extract", json, self.text(path)))

    def elements(self, json: Expression) -> Expression:
        """Returns the elements of a JSON array as a list of JSON."""
        items = exp.Cast(
            this=call("json_parse", json), to=exp.DataType.build("array(json)", "trino")
        )
        return self.map(items, lambda item: call("json_format", item))

    def any(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns whether a test holds for an item of a list."""
        return call("any_match", items, self.lambda_(test))

    def filter(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns the items of a list for which a test holds."""
        return call("filter", items, self.lambda_(test))

    def map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns what becomes of each item of a list."""
        return call("transform", items, self.lambda_(change))

    def concat(self, items: Expression, more: Expression) -> Expression:
        """Returns two lists as one."""
        return call("concat", items, more)

    def append(self, items: Expression, item: Expression) -> Expression:
        """Returns a list with one more item."""
        return call("concat", items, self.one(item))

    def sorted_keys(self, json: Expression) -> Expression:
        """Returns the keys of a JSON object, in order."""
        types = exp.DataType.build("map(varchar, json)", "trino")
        return call(
            "array_sort", call("map_keys", exp.Cast(this=call("json_parse", json), to=types))
        )

    def list_of(self, column: Expression) -> Expression:
        """Returns the aggregate that collects texts into one JSON array."""
        items = exp.Cast(this=call("array_agg", column), to=exp.DataType.build("json"))
        return call("json_format", items)


class Snowflake(Other):
    """Snowflake's words."""

    dialect = "snowflake"

    def double(self, value: float) -> Expression:
        """Returns a FLOAT literal."""
        if value in (float("inf"), float("-inf")):
            return self.cast(exp.Literal.string("inf" if value > 0 else "-inf"), "double")
        return super().double(value)

    def is_nan(self, number: Expression) -> Expression:
        """Returns whether a number is NaN."""
        return equals(number, self.double(float("nan")))

    def regex(self, text: Expression, pattern: str) -> Expression:
        """Returns whether a pattern is found in a text: RLIKE would have it match all of it."""
        found = call("regexp_instr", text, self.text(pattern))
        return exp.GT(this=found, expression=self.whole(0))

    def try_cast(self, value: Expression, to: str) -> Expression:
        """Returns a value as another type, NULL where it is none of it.

        TRY_CAST takes texts alone: not the VARIANTs that lists hold, nor numbers.
        """
        return exp.TryCast(this=self.cast(value, "varchar"), to=TYPES[to], safe=True)

    def decode(self, json: Expression) -> Expression:
        """Returns the text that a JSON string stands for."""
        return self.cast(call("parse_json", json), "varchar")

    def get(self, json: Expression, parts: Sequence[str]) -> Expression:
        """Returns the JSON at a path of keys, NULL where there is none."""
        path = "".join(_bracketed(part) for part in parts)
        return call("to_json", call("get_path", call("parse_json", json), self.text(path)))

    def elements(self, json: Expression) -> Expression:
        """Returns the elements of a JSON array as a list of JSON."""
        items = exp.Cast(this=call("parse_json", json), to=exp.DataType.build("array", "snowflake"))
        return self.map(items, lambda item: call("to_json", item))

    def one(self, item: Expression) -> Expression:
        """Returns the list of one item."""
        return call("array_construct", item)

    def none(self) -> Expression:
        """Returns the list of no JSON."""
        return call("array_construct")

    def any(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns whether a test holds for an item of a list."""
        size = call("array_size", self.filter(items, test))
        return exp.GT(this=size, expression=self.whole(0))

    def filter(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns the items of a list for which a test holds."""
        return call("filter", items, self.lambda_(test))

    def map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns what becomes of each item of a list."""
        return call("transform", items, self.lambda_(change))

    def flat_map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns the lists that become of each item of a list, as one."""
        return call("array_flatten", self.map(items, change))

    def concat(self, items: Expression, more: Expression) -> Expression:
        """Returns two lists as one."""
        return call("array_cat", items, more)

    def append(self, items: Expression, item: Expression) -> Expression:
        """Returns a list with one more item."""
        return call("array_append", items, item)

    def length(self, json: Expression) -> Expression:
        """Returns the length of a JSON array."""
        return call("array_size", call("parse_json", json))

    def has_keys(self, json: Expression, keys: Sequence[str], *, is_ordered: bool) -> Expression:
        """Returns whether a JSON object has just these keys; their order is not known here."""
        del is_ordered
        wanted = call("array_construct", *(self.text(k) for k in sorted(keys)))
        return equals(self.sorted_keys(json), wanted)

    def sorted_keys(self, json: Expression) -> Expression:
        """Returns the keys of a JSON object, in order."""
        return call("array_sort", call("object_keys", call("parse_json", json)))

    def list_of(self, column: Expression) -> Expression:
        """Returns the aggregate that collects texts into one JSON array."""
        return call("to_json", call("array_agg", column))


class BigQuery(Other):
    """BigQuery's words."""

    dialect = "bigquery"

    def decode(self, json: Expression) -> Expression:
        """Returns the text that a JSON string stands for."""
        return call("json_value", json)

    def get(self, json: Expression, parts: Sequence[str]) -> Expression:
        """Returns the JSON at a path of keys, NULL where there is none."""
        if any('"' in part or "\\" in part for part in parts):
            raise self.unsupported(json, "keys with quotes or backslashes in documents")
        path = "$" + "".join(f"[{p}]" if p.isdigit() else f'."{p}"' for p in parts)
        return call("json_query", json, self.text(path))

    def elements(self, json: Expression) -> Expression:
        """Returns the elements of a JSON array as a list of JSON."""
        return call("json_query_array", json)

    def any(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns whether a test holds for an item of a list."""
        return exp.Exists(this=self._select(items, lambda _: self.whole(1), test))

    def filter(self, items: Expression, test: Callable[[Expression], Expression]) -> Expression:
        """Returns the items of a list for which a test holds."""
        return call("array", self._select(items, lambda item: item, test))

    def map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns what becomes of each item of a list."""
        return call("array", self._select(items, change))

    def flat_map(self, items: Expression, change: Callable[[Expression], Expression]) -> Expression:
        """Returns the lists that become of each item of a list, as one."""
        outer, inner = self.fresh(), self.fresh()
        query = exp.select(exp.column(inner)).from_(self._unnest(items, outer), copy=False)
        query = query.join(self._unnest(change(exp.column(outer)), inner), join_type="cross")
        return call("array", query)

    def concat(self, items: Expression, more: Expression) -> Expression:
        """Returns two lists as one."""
        return call("array_concat", items, more)

    def append(self, items: Expression, item: Expression) -> Expression:
        """Returns a list with one more item."""
        return call("array_concat", items, self.one(item))

    def length(self, json: Expression) -> Expression:
        """Returns the length of a JSON array."""
        return call("array_length", self.elements(json))

    def has_keys(self, json: Expression, keys: Sequence[str], *, is_ordered: bool) -> Expression:
        """Refuses: arrays have no equality here."""
        del keys, is_ordered
        raise self.unsupported(json, "comparisons with whole objects")

    def sorted_keys(self, json: Expression) -> Expression:
        """Returns the keys of a JSON object."""
        return call("json_keys", call("parse_json", json), self.whole(1))

    def list_of(self, column: Expression) -> Expression:
        """Returns the aggregate that collects texts into one JSON array."""
        return call("to_json_string", call("array_agg", column))

    def _unnest(self, items: Expression, name: str) -> exp.Unnest:
        return exp.Unnest(
            expressions=[items], alias=exp.TableAlias(columns=[exp.to_identifier(name)])
        )

    def _select(
        self,
        items: Expression,
        change: Callable[[Expression], Expression],
        test: Callable[[Expression], Expression] | None = None,
    ) -> exp.Select:
        name = self.fresh()
        query = exp.Select(expressions=[change(exp.column(name))])
        query = query.from_(self._unnest(items, name), copy=False)
        return query.where(test(exp.column(name)), copy=False) if test else query


class Postgres(BigQuery):
    """PostgreSQL's words; lists are taken apart as in BigQuery."""

    dialect = "postgres"

    def is_nan(self, number: Expression) -> Expression:
        """Returns whether a number is NaN."""
        return equals(number, self.double(float("nan")))

    def regex(self, text: Expression, pattern: str) -> Expression:
        """Returns whether a pattern is found in a text; RE2's options have other letters here."""
        match = re.match(r"\(\?([ims]+)\)", pattern)
        flags = match[1] if match else ""
        lines = {"": "p", "m": "n", "s": "s", "ms": "w"}[flags.replace("i", "")]
        case_ = "i" if "i" in flags else ""
        body = pattern[match.end() :] if match else pattern
        return super().regex(text, f"(?{case_}{lines}){body}")

    def to_double(self, json: Expression) -> Expression:
        """Returns the number that finite JSON text is, NULL for any other."""
        is_number = exp.RegexpLike(this=json, expression=exp.Literal.string("^-?[0-9]"))
        return case((is_number, self.cast(json, "double")), otherwise=exp.null())

    def to_integer(self, number: Expression) -> Expression:
        """Returns a number without its fraction as a BIGINT, NULL where that does not hold it."""
        limit = self.double(9.2e18)
        fits = exp.LT(this=exp.Abs(this=number), expression=limit)
        return case((fits, self.cast(call("trunc", number), "bigint")), otherwise=exp.null())

    def text_to_integer(self, text: Expression) -> Expression:
        """Returns the BIGINT that a text is, NULL where it is none."""
        fits = exp.RegexpLike(this=text, expression=exp.Literal.string("^-?[0-9]{1,18}$"))
        return case((fits, self.cast(text, "bigint")), otherwise=exp.null())

    def decode(self, json: Expression) -> Expression:
        """Returns the text that a JSON string stands for."""
        return exp.JSONBExtractScalar(this=self._jsonb(json), expression=exp.Literal.string("{}"))

    def get(self, json: Expression, parts: Sequence[str]) -> Expression:
        """Returns the JSON at a path of keys, NULL where there is none."""
        path = exp.Array(expressions=[self.text(p) for p in parts])
        found = exp.JSONBExtract(this=self._jsonb(json), expression=path)
        return self.cast(exp.Paren(this=found), "varchar")

    def elements(self, json: Expression) -> Expression:
        """Returns the elements of a JSON array as a list of JSON."""
        name = self.fresh()
        table = call("jsonb_array_elements", self._jsonb(json))
        query = exp.Select(expressions=[self.cast(exp.column(name), "varchar")])
        return call("array", query.from_(_named(table, name), copy=False))

    def concat(self, items: Expression, more: Expression) -> Expression:
        """Returns two lists as one."""
        return call("array_cat", items, more)

    def append(self, items: Expression, item: Expression) -> Expression:
        """Returns a list with one more item."""
        return call("array_append", items, item)

    def length(self, json: Expression) -> Expression:
        """Returns the length of a JSON array."""
        return call("jsonb_array_length", self._jsonb(json))

    def has_keys(self, json: Expression, keys: Sequence[str], *, is_ordered: bool) -> Expression:
        """Returns whether a JSON object has just these keys: it holds all, and no others."""
        del is_ordered
        wanted = exp.Array(expressions=[self.text(k) for k in keys])
        names = self.cast(wanted, "varchar[]")
        others = exp.Sub(this=self._jsonb(json), expression=names)
        has_all = call("jsonb_exists_all", self._jsonb(json), names)
        nothing = self.cast(exp.Literal.string("{}"), "jsonb")
        return all_of([has_all, equals(exp.Paren(this=others), nothing)])

    def sorted_keys(self, json: Expression) -> Expression:
        """Returns the keys of a JSON object, in order."""
        name = self.fresh()
        table = _named(call("jsonb_object_keys", self._jsonb(json)), name)
        query = exp.Select(expressions=[exp.column(name)]).from_(table, copy=False)
        return call("array", query)

    def list_of(self, column: Expression) -> Expression:
        """Returns the aggregate that collects texts into one JSON array."""
        return self.cast(call("to_json", call("array_agg", column)), "varchar")

    def _jsonb(self, json: Expression) -> Expression:
        return self.cast(json, "jsonb")

    def _unnest(self, items: Expression, name: str) -> exp.Unnest:
        alias = exp.TableAlias(
            this=exp.to_identifier(f"t{name}"), columns=[exp.to_identifier(name)]
        )
        return exp.Unnest(expressions=[items], alias=alias)


def _named(rows: Expression, name: str) -> exp.Table:
    """Returns a function that gives rows of one column, as a table whose column has a name."""
    alias = exp.TableAlias(this=exp.to_identifier(f"t{name}"), columns=[exp.to_identifier(name)])
    return exp.Table(this=rows, alias=alias)


def _bracketed(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace('"', '\\"')
    return f"[{part}]" if part.isdigit() else f'["{escaped}"]'


DIALECTS: dict[str, type[Vocabulary]] = {
    words.dialect: words for words in (Vocabulary, Spark, Trino, Snowflake, BigQuery, Postgres)
}


def words_of(dialect: str) -> Vocabulary:
    """Returns the words of a dialect.

    Raises:
        ConfigError: It is not one of DIALECTS.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f"the dialect {dialect!r} is unknown: there are {', '.join(DIALECTS)}")
    return DIALECTS[dialect]()
