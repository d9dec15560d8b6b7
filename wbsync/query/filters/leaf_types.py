"""Finds as what a leaf of a document is best shown: a number, a boolean, a text.

One key may hold different types in different runs; a column that all of them share is of that
type, any other is text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.query.filters.fields import Json, Leaves, resolve_field
from wbsync.query.filters.joins import Joins, leaf_columns, select_from
from wbsync.query.filters.json_values import Json as JsonValue
from wbsync.query.filters.json_values import Leaf
from wbsync.query.filters.logic import all_of, among, any_of, case, equals, negated, true
from wbsync.query.filters.places import candidates
from wbsync.query.filters.select import Question, table_columns
from wbsync.query.filters.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from wbsync.query.filters.logic import Expression


COUNTS = 6
"""Numbers by which the kinds of a leaf's values are told."""


def leaf_keys(question: Question) -> dict[str, dict[str, list[str]]]:
    """Returns, for each table of leaves, the columns that are shown of it and the keys they name.

    >>> leaf_keys(Question(columns=("run_id", "config.lr")))
    {'run_config': {'config.lr': ['lr']}}
    """
    own = table_columns(question.kind)
    found: dict[str, dict[str, list[str]]] = {}
    for name in question.columns or ():
        if name in own:
            continue
        field = resolve_field(question.kind, name, f"column {name}")
        if isinstance(field.source, Leaves):
            keys = [".".join(parts) for parts in candidates(field, field.source)]
            found.setdefault(field.source.table, {})[name] = keys
    return found


def build_leaf_types(question: Question, table: str, keys: Iterable[str]) -> exp.Select:
    """Returns the query that counts, key by key, what kinds of values leaves have.

    Its columns are key and the numbers of all leaves, of numbers, of whole numbers within 64 bits,
    of integers that a double may not hold, of booleans and of texts. Leaves below a key count as
    none of these, and nulls not at all.
    """
    words = Vocabulary()
    keys = sorted(set(keys))
    leaf = Leaf(words, *leaf_columns(words))
    named = among(exp.column("key"), [words.text(k) for k in keys])
    below = [words.begins(exp.column("key"), f"{k}.") for k in keys]
    query = select_from(
        table,
        [
            exp.column("key"),
            *_counts(words, leaf, true()),
        ],
    )
    for column, wanted in question.scope.items():
        query = query.where(equals(exp.column(column), words.text(wanted)), copy=False)
    return (
        query.where(any_of([named, *below]), copy=False)
        .where(
            exp.Not(this=exp.Coalesce(this=leaf.is_null(), expressions=[exp.false()])), copy=False
        )
        .group_by(exp.column("key"), copy=False)
    )


def json_columns(question: Question) -> list[str]:
    """Returns the columns that are shown of documents which have no table of leaves.

    >>> from wbsync.query.filters import parse_filter
    >>> json_columns(Question(parse_filter(None, "artifacts"), columns=("size", "metadata.acc")))
    ['metadata.acc']
    """
    own = table_columns(question.kind)
    return [
        name
        for name in question.columns or ()
        if name not in own
        and isinstance(resolve_field(question.kind, name, f"column {name}").source, Json)
    ]


def build_json_types(question: Question, columns: Sequence[str]) -> exp.Select:
    """Returns the query that counts what kinds of values columns of `json_columns` have.

    It has the numbers of `build_leaf_types`, without the key, column by column in one row.
    """
    words, kind = Vocabulary(), question.kind
    joins = Joins(kind, words, question.scope)
    counts: list[Expression] = []
    for name in columns:
        field = resolve_field(kind, name, f"column {name}")
        assert isinstance(field.source, Json)
        value = JsonValue(words, joins.find(field.source.column, field.parts, field.source.via))
        is_there = negated(any_of([value.is_missing(), value.is_null()]))
        counts += _counts(words, value, is_there)
    return joins.attach(exp.Select(expressions=counts))


def _counts(words: Vocabulary, value: JsonValue, is_there: Expression) -> list[Expression]:
    """Returns how many values there are, and of each kind how many."""
    is_whole = all_of([value.is_number(), any_of([value.is_type("int"), value.is_type("long")])])
    kinds = [
        is_there, value.is_number(), is_whole, words.is_big_integer(value.json),
        value.is_type("bool"), value.is_text(),
    ]  # fmt: skip
    return [exp.Count(this=case((k, words.whole(1)), otherwise=None)) for k in kinds]


def build_objects(question: Question, column: str) -> exp.Select:
    """Returns the query for the first row in which a column of leaves holds a plain object."""
    words, kind = Vocabulary(), question.kind
    field = resolve_field(kind, column, f"column {column}")
    assert isinstance(field.source, Leaves)
    document = exp.column(field.source.column)
    found = [words.begins(words.get(document, p), "{") for p in candidates(field, field.source)]
    query = select_from(kind.table, [exp.column(kind.key[-1])])
    for name, wanted in question.scope.items():
        query = query.where(equals(exp.column(name), words.text(wanted)), copy=False)
    return query.where(any_of(found), copy=False).limit(1, copy=False)


def keys_above(names: Iterable[str]) -> frozenset[str]:
    """Returns the keys below which leaves lie: of objects, or where keys hold dots.

    >>> sorted(keys_above(["a.b.c", "d"]))
    ['a', 'a.b']
    """
    return frozenset(
        name[:index] for name in names for index, char in enumerate(name) if char == "."
    )


def leaf_type(
    keys: list[str], counts: Mapping[str, tuple[Any, ...]], above: Collection[str]
) -> str | None:
    """Returns the type as which a column is shown: double, bigint, boolean, text, object or None.

    Args:
        keys: Keys that the column may name.
        counts: Key to the counts of `build_leaf_types`.
        above: Keys below which there are leaves.

    >>> leaf_type(["lr"], {"lr": (3, 3, 0, 0, 0, 0)}, ())
    'double'
    >>> leaf_type(["lr"], {"lr": (3, 2, 0, 0, 0, 1)}, ()) is None
    True
    """
    found = [counts[k] for k in keys if k in counts]
    if not found:
        return "object" if any(k in above for k in keys) else "text"
    total, numbers, whole, big, booleans, texts = (
        sum(column) for column in zip(*found, strict=True)
    )
    if numbers == total:
        return ("bigint" if whole == total else None) if big else "double"
    return "boolean" if booleans == total else "text" if texts == total else None
