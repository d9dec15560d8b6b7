"""Asks the warehouse for runs, sweeps, artifacts and the like, as one asks W&B."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wbsync.errors import ConfigError
from wbsync.query.filters import Question, kind_of, parse_filter, parse_order, question_sql
from wbsync.query.filters.leaf_types import (
    COUNTS,
    build_json_types,
    build_leaf_types,
    build_objects,
    json_columns,
    keys_above,
    leaf_keys,
    leaf_type,
)
from wbsync.query.filters.operands import checked_text, is_writable
from wbsync.query.nearness import check_held

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wbsync.query.engine import Engine
    from wbsync.query.filters import Filter, Kind, Meaning
    from wbsync.query.result import Result


def build_question(
    kind: str,
    path: str | None = None,
    filters: str | Mapping[str, Any] | Filter | None = None,
    order: str | Sequence[str] | None = "+created_at",
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    meaning: Meaning = "mongo",
) -> Question:
    """Returns a question, read and checked.

    Args:
        kind: What is asked for: one of `KINDS`.
        path: `ENTITY/PROJECT` (for registries `ORGANIZATION/REGISTRY`), or its first part alone;
            None for all that is held.
        filters: A filter in any of W&B's spellings; None lets all pass.
        order: Order strings; None leaves the order open.
        columns: Columns of the table and fields, such as `config.lr`; None for all columns.
        limit: Most rows; None for all.
        meaning: `mongo` or `wandb`: docs/filters.md says how they differ.

    Raises:
        FilterError: The filter or the order cannot be used.
        ConfigError: The path is none, or an argument is not of its type.
    """
    asked = kind_of(kind)
    keys = parse_order(order)
    if order == "+created_at" and "createdAt" not in asked.fields:
        keys = parse_order(f"+{asked.created}")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ConfigError(f"limit is a whole number of rows, 0 or more, not {limit!r}")
    return Question(
        filter=parse_filter(filters, kind, meaning),
        scope=parse_scope(asked, path),
        order=keys,
        columns=None if columns is None else _checked_columns(columns),
        limit=limit,
    )


def _checked_columns(columns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise ConfigError(f"columns is a list of names, also of one, not {columns!r}")
    names = tuple(columns)
    if not names:
        raise ConfigError("columns names no column; leave it out for the whole table")
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"the name of a column is a text, not {name!r}")
        checked_text(name, "column name")
    return names


def parse_scope(kind: Kind, path: str | None) -> dict[str, str]:
    """Returns the columns that a path fixes, and their values.

    >>> parse_scope(kind_of("runs"), "team/project")
    {'entity': 'team', 'project': 'project'}
    """
    if path is None:
        return {}
    parts = path.strip().split("/") if isinstance(path, str) and is_writable(path) else []
    if not parts or not all(parts) or len(parts) > len(kind.scope):
        shape = "/".join(kind.scope).upper()
        raise ConfigError(f"{path!a} is not {shape}; its first part alone will do, too")
    return dict(zip(kind.scope, parts, strict=False))


def ask(engine: Engine, question: Question) -> Result:
    """Answers a question.

    Raises:
        FilterError: A column or the order names what there is none of.
        QueryError: The published file lacks what is asked for.
        ConfigError: Nothing that is held is called as the path says.
    """
    result = engine.run_trusted(question_sql(with_types(engine, question)))
    if question.scope and not result.preview(1)[0]:
        check_held(engine, question.kind, question.scope)
    return result


def with_types(engine: Engine, question: Question) -> Question:
    """Returns a question with what the leaves that it shows were found to be.

    Raises:
        FilterError: A column names what there is none of.
        QueryError: The published file lacks what is asked for.
    """
    types: dict[str, str] = {}
    if columns := json_columns(question):
        text = build_json_types(question, columns).sql("duckdb")
        row = engine.run_trusted(text).fetchall()[0]
        for at, column in enumerate(columns):
            own = row[at * COUNTS : (at + 1) * COUNTS]
            found = leaf_type([column], {column: own} if own[0] else {}, ())
            if found is not None:
                types[column] = found
    for table, named in leaf_keys(question).items():
        keys = [key for keys in named.values() for key in keys]
        counts = {
            row[0]: row[1:]
            for row in engine.run_trusted(
                build_leaf_types(question, table, keys).sql("duckdb")
            ).fetchall()
        }
        above = keys_above(counts)
        for column, candidates in named.items():
            found = leaf_type(candidates, counts, above)
            if found != "object" and not above.isdisjoint(candidates):
                # An object in some runs, or merely another key that begins alike.
                objects = build_objects(question, column).sql("duckdb")
                found = None if engine.run_trusted(objects).fetchall() else found
            if found is not None:
                types[column] = found
    return question.with_types(types)
