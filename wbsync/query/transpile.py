"""Says a query of DuckDB in another engine's words.

The text is parsed to a tree, the tree is searched for what does not read, parameters become
literal nodes, and what the two engines mean differently under one name is put in other words.
Nothing that was not in the tree can be in what is printed.
"""

from __future__ import annotations

import difflib
import logging
import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from wbsync.errors import QueryError, StatementRefusedError
from wbsync.plain import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot read is refused here

WRITES = (exp.DML, exp.DDL, exp.Command, exp.Copy, exp.Into, exp.Lock, exp.Set, exp.Use, exp.Drop)
"""Nodes that do not read: the whole tree is searched for them, whatever its root is."""

OUTSIDE_FUNCTIONS = frozenset(
    {"java_method", "reflect", "try_reflect", "ai_query", "http_request", "read_files"}
)
"""Functions of Spark that run code or reach outside the tables."""

TABLE_FUNCTIONS = (exp.Unnest, exp.GenerateSeries, exp.Explode, exp.Posexplode)


@dataclass(frozen=True, slots=True)
class Transpiled:
    """A statement as another engine takes it."""

    text: str
    tables: frozenset[str]
    """Tables of the warehouse that it reads, in lower case."""


def to_spark(text: str, values: Mapping[str, Any] | None, tables: Collection[str]) -> Transpiled:
    """Returns a statement in Spark's dialect.

    Args:
        text: One statement of DuckDB's that reads.
        values: Parameter to value, for its `$name`.
        tables: Names that it may read.

    Raises:
        StatementRefusedError: It would write, or reach outside the tables.
        QueryError: It does not parse, names what is not there, or cannot be said in Spark's words.
    """
    tree = parse(text)
    check_reads(tree)
    found = _tables_of(tree, tables)
    filled = fill(tree, values or {})
    missing = sorted({str(p.this) for p in filled.find_all(exp.Placeholder)})
    if missing:
        raise QueryError(f"the query has no value for {', '.join(f'${m}' for m in missing)}")
    return Transpiled(printed(filled, "spark"), found)


def printed(tree: exp.Expr, dialect: str) -> str:
    """Returns a tree as text.

    Args:
        tree: What to print; it may be changed.
        dialect: duckdb or spark.

    Raises:
        QueryError: It cannot be said in that dialect.
    """
    if dialect == "duckdb":
        return tree.sql("duckdb", pretty=True)
    try:
        return _rephrased(tree).sql(
            "spark", pretty=True, unsupported_level=ErrorLevel.RAISE, comments=False
        )
    except SqlglotError as error:
        raise QueryError(
            f"this cannot be said in Spark's dialect: {first_line(str(error))}"
        ) from error


def parse(text: str) -> exp.Expr:
    """Returns the tree of one statement.

    Raises:
        QueryError: It does not parse.
    """
    try:
        return sqlglot.parse_one(text, read="duckdb")
    except SqlglotError as error:
        raise QueryError(
            f"the query cannot be read for another engine: {first_line(str(error))}"
        ) from error


def fill(tree: exp.Expr, values: Mapping[str, Any]) -> exp.Expr:
    """Returns a tree with literals in the place of the parameters that have a value."""

    def put(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Placeholder) and node.this in values:
            return literal(values[node.this])
        return node

    return tree.copy().transform(put)


def literal(value: Any) -> exp.Expr:
    """Returns a value as a node that means the same in every engine.

    >>> literal(0.1).sql("spark"), literal("it's").sql("duckdb")
    ("CAST('0.1' AS DOUBLE)", "'it''s'")
    """
    if value is None:
        return exp.null()
    if isinstance(value, bool):
        return exp.true() if value else exp.false()
    if isinstance(value, int):
        return exp.cast(exp.Literal.string(str(value)), "BIGINT")
    if isinstance(value, float):
        text = repr(value) if math.isfinite(value) else _NON_FINITE[str(value)]
        return exp.cast(exp.Literal.string(text), "DOUBLE")
    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(value.isoformat(sep=" ")), "TIMESTAMP")
    if isinstance(value, (list, tuple)):
        items = exp.Array(expressions=[literal(v) for v in value])
        return exp.cast(items, exp.DataType.build("VARCHAR[]", dialect="duckdb"))
    if isinstance(value, str):
        return exp.Literal.string(value)
    raise QueryError(f"a parameter cannot be a {type(value).__name__} on another engine")


_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def check_reads(tree: exp.Expr) -> None:
    """Checks that a statement is a query, and that all of it reads.

    Raises:
        StatementRefusedError: It is none, or a part of it does not.
    """
    if not isinstance(tree, exp.Query):
        raise StatementRefusedError("another engine is asked queries only (SELECT, WITH, VALUES)")
    for node in tree.walk():
        if isinstance(node, WRITES):
            raise StatementRefusedError(
                f"{node.key.upper()} inside a query is refused: queries only read"
            )
        name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
        if name in OUTSIDE_FUNCTIONS:
            raise StatementRefusedError(
                f"the function {name} is refused: queries only read the warehouse"
            )


def _tables_of(tree: exp.Expr, tables: Collection[str]) -> frozenset[str]:
    """Returns the warehouse's tables that a statement reads; whatever else it names is refused."""
    common = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    found = set()
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, TABLE_FUNCTIONS):
            continue
        if not isinstance(table.this, exp.Identifier):
            raise StatementRefusedError(
                f"{table.this.sql('duckdb')[:60]} is refused: another engine reads the warehouse's"
                " tables only"
            )
        name = table.name.lower()
        is_plain = table.db.lower() in {"", "main"} and not table.catalog
        if is_plain and name in tables:
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            table.set("this", exp.to_identifier(name))
            table.set("db", None)
            found.add(name)
        elif not is_plain or name not in common:
            near = difflib.get_close_matches(name, list(tables), 1)
            hint = f"did you mean {near[0]!r}?" if near else "`wbsync tables` lists what there is"
            raise QueryError(f"there is no table {table.sql('duckdb')} on that engine; {hint}")
    return frozenset(found)


def _rephrased(tree: exp.Expr) -> exp.Expr:
    """Returns a tree in words that mean in Spark what they mean in DuckDB; from the leaves up."""
    root = tree
    for node in reversed(list(tree.bfs())):
        change = _REPHRASE.get(type(node))
        new = change(node) if change else node
        if new is not node:
            root = new if node is root else root
            node.replace(new)
    return root


def _call(name: str, *args: exp.Expr | None) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[a.copy() for a in args if a is not None])


def _epoch(node: exp.Expr) -> exp.Expr:
    """Seconds with their fraction, which Spark's UNIX_TIMESTAMP drops."""
    micros = _call("UNIX_MICROS", exp.cast(node.this.copy(), "TIMESTAMPTZ"))
    return exp.paren(exp.Div(this=micros, expression=exp.Literal.number(1_000_000)))


def _date_diff(node: exp.Expr) -> exp.Expr:
    """Boundaries between two instants, where Spark counts whole units."""
    unit = node.args.get("unit")

    def floor(instant: exp.Expr) -> exp.Expr:
        return _call("DATE_TRUNC", exp.Literal.string(unit.name if unit else "DAY"), instant)

    return exp.DateDiff(this=floor(node.this), expression=floor(node.expression), unit=unit)


def _percentile(node: exp.Expr) -> exp.Expr:
    return _call("PERCENTILE", node.this, node.expression) if node.expression else node


def _bounded(node: exp.Expr, compare: type[exp.Binary]) -> exp.Expr:
    """Compares a size with infinity: NaN is beyond it in every engine."""
    size = exp.Abs(this=node.copy())
    return exp.paren(compare(this=size, expression=literal(math.inf)))


def _is_nan(node: exp.Expr) -> exp.Expr:
    """NULL of NULL, where Spark says FALSE."""
    known = exp.Not(this=exp.Is(this=node.this.copy(), expression=exp.null()))
    return exp.Case().when(known, _call("ISNAN", node.this))


def _anonymous(node: exp.Expr) -> exp.Expr:
    if node.name.lower() == "isfinite" and len(node.expressions) == 1:
        return _bounded(node.expressions[0], exp.LT)
    return node


def _ordered_list(node: exp.Expr) -> exp.Expr:
    if isinstance(node.this, exp.Order):
        raise QueryError(
            "list(… ORDER BY …) cannot be said in Spark's dialect: sort the list, or use"
            " string_agg(… ORDER BY …)"
        )
    return node


def _discrete(_node: exp.Expr) -> exp.Expr:
    raise QueryError("quantile cannot be said in Spark's dialect: use quantile_cont")


def _json(node: exp.Expr) -> exp.Expr:
    if not isinstance(node.parent, (exp.JSONExtract, exp.JSONExtractScalar, exp.Cast)):
        raise QueryError("-> keeps a text's quotes, and Spark cannot: use ->>")
    return node


def _like(node: exp.Expr) -> exp.Expr:
    """A backslash is one, where Spark takes it for an escape."""
    pattern = node.expression
    if isinstance(pattern, exp.Literal) and not isinstance(node.parent, exp.Escape):
        pattern.replace(exp.Literal.string(pattern.name.replace("\\", "\\\\")))
    return node


def _qualified(node: exp.Expr) -> exp.Expr:
    if node.args.get("qualify") and any(node.args.get(part) for part in ("order", "limit")):
        raise QueryError(
            "QUALIFY beside ORDER BY or LIMIT cannot be said in Spark's dialect: put the part up to"
            " QUALIFY into a subquery"
        )
    return node


def _series(node: exp.Expr) -> exp.Expr:
    """Numbers as a table, by Spark's own function."""
    series = node.this
    if isinstance(series, exp.GenerateSeries):
        start, end = series.args["start"], series.args["end"]
        if not series.args.get("is_end_exclusive"):
            end = exp.Add(this=end.copy(), expression=exp.Literal.number(1))
        node.set("this", _call("RANGE", start, end, series.args.get("step")))
    return node


_REPHRASE: dict[type[exp.Expr], Callable[[Any], exp.Expr]] = {
    exp.TimeToUnix: _epoch,
    exp.DateDiff: _date_diff,
    exp.PercentileCont: _percentile,
    exp.IsNan: _is_nan,
    exp.IsInf: lambda node: _bounded(node.this, exp.EQ),
    exp.Anonymous: _anonymous,
    exp.ArrayAgg: _ordered_list,
    exp.Quantile: _discrete,
    exp.JSONExtract: _json,
    exp.Like: _like,
    exp.ILike: _like,
    exp.Select: _qualified,
    exp.Table: _series,
}
