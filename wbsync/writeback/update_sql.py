"""An UPDATE over runs or artifacts as an edit: it is worked out on the warehouse, and sent nowhere.

Its WHERE and its right-hand sides become one SELECT, which is admitted as any query of others is.
What it may set is checked before. In it, tags are a list of texts, and leaves of config, summary
and metadata are written config.lr, config.optimizer.lr or config['optimizer.lr'].
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from wbsync.errors import EditError
from wbsync.query.asking import build_question, with_types
from wbsync.query.filters import build_select
from wbsync.query.filters.select import table_columns
from wbsync.writeback.assignments import KIND_OF, Assignment, editable, parse_place
from wbsync.writeback.leaves import leaf_at, resolve_path
from wbsync.writeback.operations import FIELDS, MISSING
from wbsync.writeback.plan import plan_each
from wbsync.writeback.things import SPECS, Needs, read_things

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wbsync.query import Engine
    from wbsync.writeback.operations import Target
    from wbsync.writeback.plan import Plan
    from wbsync.writeback.things import Things

KINDS = ("runs", "artifacts")
DOCUMENTS = frozenset({"config", "summary", "summary_metrics", "summarymetrics", "metadata"})
TAGS = "tags as a list"
"""Column that has the tags as a list."""

_REFUSED_PARTS = {
    "returning": "RETURNING", "from_": "FROM", "from": "FROM", "order": "ORDER BY",
    "limit": "LIMIT", "with_": "WITH", "with": "WITH", "joins": "a join",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """One assignment of an UPDATE."""

    field: str
    name: str | None
    value: exp.Expr
    how: str
    """set, append (to notes), each (tags that are added and taken away) or copy (of a leaf)."""
    reads: tuple[tuple[str, str], ...] = ()
    """Leaves in the value: field and dotted name."""


def plan_update(engine: Engine, text: str, *, every: bool = False) -> Plan:
    """Works out what an UPDATE does.

    Args:
        engine: The warehouse.
        text: The statement, as DuckDB understands it.
        every: Whether it may be about every row there is.

    Raises:
        EditError: It is no UPDATE that can be an edit, or W&B would not take what it sets.
        QueryError: Its WHERE or a right-hand side fails, or names what is not there.
    """
    update = _parse(text)
    kind = _kind_of(update)
    table = update.this
    alias = table.alias or kind
    own = {kind, alias, ""}
    settings = [_setting(kind, own, item) for item in update.expressions]
    places = [(s.field, s.name) for s in settings]
    if len(set(places)) < len(places):
        raise EditError("a place is set twice")
    where = update.args.get("where")
    if not every and (where is None or not list(where.find_all(exp.Column))):
        raise EditError(
            f"it would change all {kind} of every project: add a WHERE, or say --all (every=True)"
        )
    leaves: dict[str, str] = {}
    condition = None if where is None else _lowered(where.this, own, leaves, kind, is_value=False)
    values = [
        exp.alias_(_lowered(s.value, own, leaves, kind, is_value=True), f"_set_{i}", quoted=True)
        for i, s in enumerate(settings)
    ]
    question = build_question(kind, columns=(*table_columns_of(kind), *leaves), order=None)
    rows = build_select(with_types(engine, question))
    for shown in rows.expressions:
        if shown.alias in leaves:
            shown.set("alias", exp.to_identifier(leaves[shown.alias], quoted=True))
    tags = exp.cast(exp.cast(exp.column("tags"), "JSON"), "VARCHAR[]")
    rows = exp.select("*", exp.alias_(tags, TAGS, quoted=True)).from_(rows.subquery("held"))
    source = exp.select("*", *values).from_(rows.subquery(alias))
    if condition is not None:
        source = source.where(condition)
    assigned = [Assignment(s.field, "set", name=s.name) for s in settings]
    extra = [exp.alias_(exp.column(f"_set_{i}", quoted=True), f"_set_{i}", quoted=True)
             for i in range(len(settings))]  # fmt: skip
    read = [Assignment(field, "set", name=name) for s in settings for field, name in s.reads]
    needs = Needs.of([*assigned, *read])
    things = read_things(engine, kind, source, needs, extra=extra, is_trusted=False)
    if not every:
        _check_reach(engine, kind, len(things))
    own_assignments = []
    for index in range(len(things)):
        made: list[Assignment] = []
        for i, setting in enumerate(settings):
            value = things.extra[f"_set_{i}"][index]
            if setting.reads:
                leaves_read = [_held(things, index, *place) for place in setting.reads]
                if setting.how == "copy":
                    made.append(_copy(setting, leaves_read[0]))
                    continue
                _check_plain(setting, leaves_read, things.target(index))
            held = things.held[setting.field][index]
            made += _assignments(setting, value, partial(things.value, setting.field, held))
        own_assignments.append(made)
    return plan_each(things, own_assignments)


def table_columns_of(kind: str) -> tuple[str, ...]:
    """Returns the columns of a kind's table."""
    from wbsync.query.filters import kind_of

    return table_columns(kind_of(kind))


def _parse(text: str) -> exp.Update:
    """Returns the statement, if it is one that can be an edit."""
    try:
        found = [s for s in sqlglot.parse(text, dialect="duckdb") if s is not None]
    except (SqlglotError, RecursionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise EditError(f"the statement does not parse: {reason}") from error
    if len(found) != 1:
        raise EditError(f"write one UPDATE; there are {len(found)} statements")
    update = found[0]
    if not isinstance(update, exp.Update):
        raise EditError(
            f"{update.key.upper()} is refused: an edit is an UPDATE of runs or artifacts;"
            " `wbsync sql` asks"
        )
    for part, words in _REFUSED_PARTS.items():
        if update.args.get(part) or update.this.args.get(part):
            raise EditError(
                f"an edit takes no {words}: where other tables matter, put subqueries into WHERE"
            )
    others = {k for k, v in update.args.items() if v} - {"this", "expressions", "where"}
    if others:
        raise EditError(f"{', '.join(sorted(others))} is refused in an edit")
    if next(update.find_all(exp.Placeholder, exp.Parameter), None) is not None:
        raise EditError("parameters are refused in an edit: write the values")
    return update


def _kind_of(update: exp.Update) -> str:
    table = update.this
    name = table.name.lower() if isinstance(table, exp.Table) else ""
    if name not in KINDS or table.args.get("db") or not isinstance(table.this, exp.Identifier):
        raise EditError(f"only {' and '.join(KINDS)} can be edited by SQL, not {table.sql()}")
    return name


def _setting(kind: str, own: set[str], item: exp.Expr) -> Setting:
    """Returns one assignment, if it may be made."""
    if not isinstance(item, exp.EQ):
        raise EditError(f"{item.sql('duckdb')} is no assignment")
    parts = _parts(item.this)
    if parts is None:
        raise EditError(f"{item.this.sql('duckdb')} cannot be assigned; {_allowed(kind)}")
    if len(parts) > 1 and parts[0].lower() in own:
        parts = parts[1:]
    head = parts[0].lower()
    try:
        field, name = parse_place(kind, ".".join((head, *parts[1:])))
    except EditError as error:
        raise EditError(f"{error}; {_allowed(kind)}") from None
    if field in {"aliases", "stop", "state"} or isinstance(item.expression, exp.Var):
        raise EditError(f"{field} cannot be assigned; {_allowed(kind)}")
    value = item.expression
    column = SPECS[kind].columns.get(field)
    used = [c for c in _outer(value) if isinstance(c, exp.Column) and _is(c, own, column)]
    how = "set"
    if field == "tags" and used:
        how = "each"
    elif field == "notes" and len(used) == 1 and _leftmost(value) is used[0]:
        how = "append"
    reads = tuple(_leaves_in(value, own, kind))
    if name is not None and _leaf_of(_bare(value), own, kind) is not None:
        how = "copy"
    return Setting(field, name, value, how, reads)


def _bare(node: exp.Expr) -> exp.Expr:
    """Returns an expression without the parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _leaf_of(node: exp.Expr, own: set[str], kind: str) -> tuple[str, str] | None:
    """Returns field and dotted name of a leaf, None for any other expression."""
    parts = _parts(node)
    if parts is not None and len(parts) > 1 and parts[0].lower() in own:
        parts = parts[1:]
    if parts is None or len(parts) < 2 or parts[0].lower() not in DOCUMENTS:
        return None
    field, name = parse_place(kind, ".".join((parts[0].lower(), *parts[1:])))
    return None if name is None else (field, name)


def _leaves_in(node: exp.Expr, own: set[str], kind: str) -> Iterator[tuple[str, str]]:
    """Yields the leaves in an expression, without those in queries in it."""
    leaf = _leaf_of(node, own, kind)
    if leaf is not None:
        yield leaf
    elif not isinstance(node, exp.Query):
        for child in node.iter_expressions():
            yield from _leaves_in(child, own, kind)


def _held(things: Things, index: int, field: str, name: str) -> Any:
    """Returns a leaf as W&B holds it: SQL has numbers as doubles, lists and objects as texts."""
    values = things.value(field, things.held[field][index])
    return leaf_at(values, resolve_path(values, name))


def _copy(setting: Setting, value: Any) -> Assignment:
    """Returns what gives a leaf the value of another one; of one that is not there, none."""
    if value is MISSING:
        return Assignment(setting.field, "unset", name=setting.name)
    return Assignment(setting.field, "set", value, setting.name)


def _check_plain(setting: Setting, values: Sequence[Any], target: Target) -> None:
    """Refuses to reckon with lists and objects, which SQL has as texts.

    Raises:
        EditError: One is read.
    """
    for (field, name), value in zip(setting.reads, values, strict=True):
        if isinstance(value, (list, dict)):
            raise EditError(
                f"{field}.{name} of {target} is a list or an object, which can only be copied as a"
                f" whole: write {setting.field}.KEY = {field}.{name}, or import a file"
            )


def _allowed(kind: str) -> str:
    names = [n for n in editable(kind) if n not in {"aliases", "stop", "state"}]
    return f"of {kind}, these may be assigned: {', '.join(names)}"


def _parts(node: exp.Expr) -> list[str] | None:
    """Returns the names of a column or a leaf, None for any other expression."""
    if isinstance(node, exp.Column):
        return [part.name for part in node.parts]
    if isinstance(node, exp.Dot):
        before = _parts(node.this)
        return None if before is None else [*before, node.expression.name]
    if isinstance(node, exp.Bracket) and len(node.expressions) == 1:
        before, key = _parts(node.this), node.expressions[0]
        if before is not None and isinstance(key, exp.Literal) and key.is_string:
            return [*before, key.this]
    return None


def _is(node: exp.Column, own: set[str], column: str | None) -> bool:
    return node.name.lower() == column and node.table.lower() in own


def _outer(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yields the nodes of an expression, without those of queries in it."""
    yield node
    if not isinstance(node, exp.Query):
        for child in node.iter_expressions():
            yield from _outer(child)


def _leftmost(node: exp.Expr) -> exp.Expr:
    while isinstance(node, (exp.DPipe, exp.Paren)):
        node = node.this
    return node


def _lowered(
    node: exp.Expr, own: set[str], leaves: dict[str, str], kind: str, *, is_value: bool
) -> exp.Expr:
    """Returns an expression in terms of the source's columns.

    Args:
        node: The expression; it is changed.
        own: Names of the table.
        leaves: Takes note of the leaves that it names, and of the columns that they become.
        kind: runs or artifacts.
        is_value: Whether it is a right-hand side: there, no text is an empty one.
    """
    parts = _parts(node)
    if parts is not None:
        if len(parts) > 1 and parts[0].lower() in own:
            parts = parts[1:]
        head = parts[0].lower()
        if len(parts) > 1 and head in DOCUMENTS:
            field, name = parse_place(kind, ".".join((head, *parts[1:])))
            # Numbered: names of columns are the same in either case, and keys are not.
            column = leaves.setdefault(f"{field}.{name}", f"leaf {len(leaves)}")
            return exp.column(column, quoted=True)
        if len(parts) == 1 and isinstance(node, exp.Column):
            if head == "tags":
                return exp.column(TAGS, quoted=True)
            texts = [c for f, c in SPECS[kind].columns.items() if FIELDS[KIND_OF[kind], f].form
                     == "text"]  # fmt: skip
            if is_value and head in texts:
                empty = exp.Literal.string("")
                return exp.Coalesce(this=exp.column(head), expressions=[empty])
            return exp.column(node.this.copy())
    if isinstance(node, exp.Query):
        return node
    for name, value in list(node.args.items()):
        if isinstance(value, exp.Expr):
            node.set(name, _lowered(value, own, leaves, kind, is_value=is_value))
        elif isinstance(value, list):
            node.set(
                name,
                [
                    _lowered(v, own, leaves, kind, is_value=is_value)
                    if isinstance(v, exp.Expr)
                    else v
                    for v in value
                ],
            )
    return node


def _check_reach(engine: Engine, kind: str, matched: int) -> None:
    """Refuses what is about every row of several projects.

    Raises:
        EditError: It is.
    """
    query = exp.select(
        exp.Count(this=exp.Star()),
        exp.Count(this=exp.Distinct(expressions=[exp.Tuple(
            expressions=[exp.column("entity"), exp.column("project")])])),
    ).from_(kind)  # fmt: skip
    rows, projects = engine.run_trusted(query.sql("duckdb")).fetchall()[0]
    if projects > 1 and matched == rows:
        raise EditError(
            f"it would change all {rows:,} {kind} of {projects:,} projects: say --all (every=True)"
            " if that is meant"
        )


def _assignments(setting: Setting, value: Any, held: Callable[[], Any]) -> list[Assignment]:
    """Returns what a right-hand side's value comes to for one thing."""
    field, name = setting.field, setting.name
    value = _plain(value)
    if name is not None:
        if value is None:
            return [Assignment(field, "unset", name=name)]
        return [Assignment(field, "set", _like(value, held(), name), name)]
    if field == "tags":
        wanted = [] if value is None else value
        if not isinstance(wanted, list) or not all(isinstance(t, str) for t in wanted):
            raise EditError(
                "tags are a list of texts: write list_append(tags, 'best') or ['a', 'b']"
            )
        return list(_tag_changes(wanted, held()) if setting.how == "each" else
                    [Assignment("tags", "set", wanted)])  # fmt: skip
    text = "" if value is None else value
    if setting.how == "append" and isinstance(text, str):
        added = text.removeprefix(held() or "")
        return [Assignment("notes", "append", added)] if added else []
    return [Assignment(field, "set", text)]


def _tag_changes(wanted: Sequence[str], held: Sequence[str]) -> Iterator[Assignment]:
    for tag in held:
        if tag not in wanted:
            yield Assignment("tags", "remove", tag)
    for tag in dict.fromkeys(wanted):
        if tag not in held:
            yield Assignment("tags", "add", tag)


def _plain(value: Any) -> Any:
    """Returns a value of SQL as JSON has it: decimals are numbers.

    >>> _plain([Decimal("0.1"), Decimal("3")])
    [0.1, 3]
    """
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _like(value: Any, held: dict[str, Any], name: str) -> Any:
    """Returns a whole number as an integer where an integer was: SQL reads leaves as doubles."""
    if not isinstance(value, float) or not value.is_integer() or abs(value) > 2**53:
        return value
    base = leaf_at(held, resolve_path(held, name))
    is_integer = base is not MISSING and isinstance(base, int) and not isinstance(base, bool)
    return int(value) if is_integer else value
