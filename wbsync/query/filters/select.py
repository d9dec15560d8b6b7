"""Builds the query that answers a question: which things pass, in which order, and what of them.

One question is one SELECT over the kind's table, left joins for what lies in other tables, and a
condition. It holds no text of the user's but as literals that sqlglot escapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.errors import (
    ConfigError,
    FilterSyntaxError,
    UnknownFieldError,
    UnsupportedOperatorError,
)
from wbsync.query.filters.check import MEANINGS, check
from wbsync.query.filters.fields import Kind, kind_of, resolve_field
from wbsync.query.filters.joins import Joins
from wbsync.query.filters.logic import is_true
from wbsync.query.filters.lower import Lowering
from wbsync.query.filters.names import comma_hint
from wbsync.query.filters.parse import parse_tree
from wbsync.query.filters.tree import EVERYTHING, Node, iter_tests
from wbsync.query.filters.vocabulary import Vocabulary
from wbsync.tables import load_table, table_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from wbsync.query.filters.check import Meaning
    from wbsync.query.filters.fields import Field
    from wbsync.query.filters.order import OrderKey


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read and checked, for one kind of thing, in one meaning."""

    root: Node = EVERYTHING
    kind: str = "runs"
    meaning: Meaning = "mongo"


def parse_filter(
    source: str | Mapping[str, Any] | Filter | None,
    kind: str = "runs",
    meaning: Meaning = "mongo",
) -> Filter:
    """Returns a filter, read and checked.

    Args:
        source: JSON text, a Python-like text, a dictionary in MongoDB's form or a run set's; None
            and {} let all pass.
        kind: What is filtered: one of `fields.KINDS`.
        meaning: `mongo` (MongoDB's manual) or `wandb` (as W&B's server is believed to answer).

    Raises:
        FilterSyntaxError: It is no filter, or asks what can never be.
        UnknownFieldError: It names a field that there is none of.
        UnsupportedOperatorError: It uses an operator that is unknown or has no meaning there.
        ConfigError: There is no such kind or meaning.

    >>> parse_filter({"state": "finished"}).kind
    'runs'
    """
    if isinstance(source, Filter):
        return source
    if meaning not in MEANINGS:
        raise ConfigError(f"meaning is {' or '.join(MEANINGS)}, not {meaning!r}")
    root = parse_tree(source)
    check(kind_of(kind), root, meaning)
    return Filter(root, kind, meaning)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the warehouse."""

    filter: Filter = field(default_factory=Filter)
    scope: Mapping[str, str] = field(default_factory=dict)
    """Column to the value that all rows must have in it, for example the project."""
    order: tuple[OrderKey, ...] = ()
    columns: tuple[str, ...] | None = None
    """Columns of the table, and fields in any spelling; None for all columns of the table."""
    limit: int | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    """Column that names a leaf, to what `leaf_types` found of it."""

    @property
    def kind(self) -> Kind:
        """What is asked for."""
        return kind_of(self.filter.kind)

    def with_types(self, types: Mapping[str, str]) -> Question:
        """Returns the same question, with what its leaves were found to be."""
        return replace(self, types=types)


def build_select(
    question: Question,
    words: Vocabulary | None = None,
    *,
    from_leaves: bool = True,
    tables: Collection[str] | None = None,
) -> exp.Select:
    """Returns the query that answers a question.

    Args:
        question: What is asked.
        words: The dialect's words; None for DuckDB's.
        from_leaves: Whether config and summary may be read leaf by leaf from their own tables.
        tables: Tables that are at hand; None for all.

    Raises:
        UnknownFieldError: A column or an order names what there is none of.
        UnsupportedOperatorError: A table or a word that it needs is missing.

    >>> question = Question(parse_filter({"state": "finished"}), columns=("run_id",))
    >>> build_select(question).sql("duckdb")
    "SELECT runs.run_id FROM runs WHERE runs.state = 'finished'"
    """
    kind = question.kind
    words = words or Vocabulary()
    joins = Joins(kind, words, question.scope, tables)
    own = table_columns(kind)
    names = own if question.columns is None else question.columns
    shown = {n: resolve_field(kind, n, f"column {n}") for n in names if n not in own}
    order = _resolved(kind, question.order)
    paths = [where.path for where in iter_tests(question.filter.root)]
    paths += [*shown, *(k.path for k in question.order)]
    lowering = Lowering(kind, question.filter.meaning, words, joins, paths, from_leaves=from_leaves)

    columns = [
        exp.alias_(lowering.shown(shown[n], question.types.get(n)), n, quoted=True, copy=False)
        if n in shown
        else joins.column(n)
        for n in names
    ]
    condition = lowering.condition(question.filter.root)
    ordered = [_directed(e, key) for key, f in order for e in lowering.sort_keys(f)]
    query = joins.attach(exp.Select(expressions=columns))
    if not is_true(condition):
        query = query.where(condition, copy=False)
    if ordered:
        ties = [joins.column(c) for c in (kind.created, kind.key[-1]) if c is not None]
        query = query.order_by(*ordered, *(_directed(t, None) for t in ties), copy=False)
    return query if question.limit is None else query.limit(question.limit, copy=False)


def question_sql(question: Question, words: Vocabulary | None = None, **how: Any) -> str:
    """Returns the text of the query that answers a question.

    Args:
        question: What is asked.
        words: The dialect's words; None for DuckDB's.
        how: What else `build_select` takes, and `pretty` for lines that people read.

    Raises:
        FilterError: See `build_select`; or the filter is too deep to be said in SQL.
    """
    words = words or Vocabulary()
    is_pretty = how.pop("pretty", False)
    try:
        return words.sql(build_select(question, words, **how), is_pretty=is_pretty)
    except RecursionError:
        raise FilterSyntaxError(
            "the filter, or a path in it, is nested too deep to be said in SQL; put what is alike"
            " side by side in one $and or $or"
        ) from None


def table_columns(kind: Kind) -> tuple[str, ...]:
    """Returns the columns of a kind's table.

    Raises:
        UnsupportedOperatorError: There is no such table in this version.
    """
    if kind.table not in table_names():
        raise UnsupportedOperatorError(f"this wbsync does not sync {kind.name}", operator="")
    return tuple(column.name for column in load_table(kind.table).columns)


def _resolved(kind: Kind, order: tuple[OrderKey, ...]) -> list[tuple[OrderKey, Field]]:
    try:
        return [(k, resolve_field(kind, k.path, f"order {k.path}")) for k in order]
    except UnknownFieldError as error:
        hint = comma_hint(error.field, [k.path for k in order])
        if not hint:
            raise
        raise UnknownFieldError(
            f"{kind.name} have no field {error.field}; {hint}",
            field=error.field, suggestions=error.suggestions, at=error.at,
        ) from None  # fmt: skip


def _directed(key: exp.Expr, order: OrderKey | None) -> exp.Ordered:
    is_descending = order is not None and order.is_descending
    return exp.Ordered(this=key, desc=is_descending, nulls_first=not is_descending)
