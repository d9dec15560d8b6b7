"""Where a row's fields are: columns of its table, and what is joined to it.

Each lookup of a leaf is one left join on the rows of one key, which the published file lets DuckDB
find without reading the others. Keys are unique per row, so no join multiplies rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from wbsync.errors import UnsupportedOperatorError
from wbsync.query.filters.logic import all_of, among, any_of, case, equals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from wbsync.query.filters.documents import Parts
    from wbsync.query.filters.fields import Kind
    from wbsync.query.filters.logic import Expression
    from wbsync.query.filters.vocabulary import Vocabulary


def leaf_columns(words: Vocabulary) -> tuple[Expression, Expression]:
    """Returns the number and the JSON of a leaf, each NULL where it has none.

    Booleans, which the table holds as 1 and 0, have JSON alone; so has NaN, which SQL would put
    above all numbers.
    """
    value, json = exp.column("value"), exp.column("json")
    is_boolean = among(json, [words.text("true"), words.text("false")])
    is_nan = words.is_nan(value)
    return (
        case((any_of([is_boolean, is_nan]), exp.null()), otherwise=value),
        case((is_nan, words.text('"NaN"')), otherwise=json),
    )


def select_from(table: str, columns: Sequence[Expression]) -> exp.Select:
    """Returns a query of columns of a table."""
    query = exp.Select(expressions=list(columns))
    return query.from_(exp.Table(this=exp.to_identifier(table)), copy=False)


class Joins:
    """Collects what a query must join and read to answer."""

    def __init__(
        self,
        kind: Kind,
        words: Vocabulary,
        scope: Mapping[str, str],
        tables: Collection[str] | None = None,
    ) -> None:
        """Starts with the kind's own table.

        Args:
            kind: What is asked for.
            words: The dialect's words.
            scope: Columns whose value is given, and it: all rows have it.
            tables: Tables that are there; None for all.
        """
        self._kind = kind
        self._words = words
        self._scope = dict(scope)
        self._tables = tables
        self._aliases: dict[tuple[str, ...], str] = {}
        self._joins: list[tuple[str, exp.Select, tuple[str, ...]]] = []
        self._extracts: dict[str, dict[Parts, int]] = {}

    def column(self, name: str, via: str | None = None) -> Expression:
        """Returns a column of the kind's table, or of one that is joined by `artifact_id`."""
        if via is None:
            return exp.column(name, table=self._kind.table)
        alias = self._aliases.get(("via", via))
        if alias is None:
            alias = self._add(("via", via), select_from(via, [exp.Star()]), ("artifact_id",), via)
        return exp.column(name, table=alias)

    def leaf(self, table: str, key: str) -> tuple[Expression, Expression]:
        """Joins the leaf of a key; returns its number and its JSON."""
        alias = self._aliases.get((table, key))
        if alias is None:
            number, json = leaf_columns(self._words)
            columns = (
                exp.alias_(number, "number", copy=False),
                exp.alias_(json, "json", copy=False),
            )
            rows = self._rows(table, *columns)
            rows = rows.where(self._is_key(key), copy=False)
            alias = self._add((table, key), rows, self._on(self._kind.key), table)
        return exp.column("number", table=alias), exp.column("json", table=alias)

    def below(self, table: str, key: str) -> Expression:
        """Joins the rows that have a key below this one; returns what is not NULL where so."""
        alias = self._aliases.get((table, key, "below"))
        if alias is None:
            starts = self._words.begins(exp.column("key"), f"{key}.")
            rows = self._rows(table).where(starts, copy=False).distinct(copy=False)
            alias = self._add((table, key, "below"), rows, self._on(self._kind.key), table)
        return exp.column(self._on(self._kind.key)[-1], table=alias)

    def key(self, table: str, key: str) -> Expression:
        """Joins the rows that have a key; returns what is not NULL where so."""
        alias = self._aliases.get((table, key))
        if alias is None:
            rows = self._rows(table).where(self._is_key(key), copy=False)
            alias = self._add((table, key), rows, self._on(self._kind.key), table)
        return exp.column(self._on(self._kind.key)[-1], table=alias)

    def bridge(
        self, table: str, column: str, on: tuple[str, ...], where: tuple[tuple[str, str], ...]
    ) -> Expression:
        """Joins a list of texts that lies in rows of a table; returns it as a JSON array."""
        name = (table, column, *(v for _, v in where))
        alias = self._aliases.get(name)
        if alias is None:
            columns = self._on(on)
            items = self._words.list_of(exp.column(column))
            shown = [*map(exp.column, columns), exp.alias_(items, "items", copy=False)]
            rows = select_from(table, shown)
            for held, value in where:
                condition = equals(exp.column(held), self._words.text(value))
                rows = rows.where(condition, copy=False)
            rows = self._scoped(rows, on).group_by(*map(exp.column, columns), copy=False)
            alias = self._add(name, rows, columns, table)
        return exp.column("items", table=alias)

    def find(self, column: str, parts: Parts, via: str | None = None) -> Expression:
        """Returns the JSON at a path of literal keys in a column of JSON."""
        if via is not None or not self._words.extracts_together:
            return self._words.get(self.column(column, via), parts)
        found = self._extracts.setdefault(column, {})
        index = found.setdefault(parts, len(found))
        return self._words.nth(self.column(f"{column}_found"), index)

    def attach(self, query: exp.Select) -> exp.Select:
        """Returns a query with the table, the joins and the scope that were collected."""
        table = self._kind.table
        query = query.from_(self._base(), copy=False)
        for alias, rows, on in self._joins:
            same = [equals(exp.column(c, table=alias), exp.column(c, table=table)) for c in on]
            query = query.join(
                rows.subquery(alias, copy=False), on=all_of(same), join_type="left", copy=False
            )
        for column, value in self._scope.items():
            condition = equals(exp.column(column, table=table), self._words.text(value))
            query = query.where(condition, copy=False)
        return query

    def _base(self) -> Expression:
        table = self._kind.table
        if not self._extracts:
            return exp.Table(this=exp.to_identifier(table))
        found = [
            exp.alias_(self._words.get_all(exp.column(column), list(paths)), f"{column}_found")
            for column, paths in self._extracts.items()
        ]
        query = self._scoped(select_from(table, [exp.Star(), *found]), self._kind.scope)
        return query.subquery(table, copy=False)

    def _on(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the columns by which rows are joined: those that the scope does not fix."""
        return tuple(c for c in columns if c not in self._scope) or columns[-1:]

    def _rows(self, table: str, *columns: Expression) -> exp.Select:
        rows = select_from(table, [*map(exp.column, self._on(self._kind.key)), *columns])
        return self._scoped(rows, self._kind.key)

    def _scoped(self, rows: exp.Select, columns: tuple[str, ...]) -> exp.Select:
        for column in columns:
            if column in self._scope:
                condition = equals(exp.column(column), self._words.text(self._scope[column]))
                rows = rows.where(condition, copy=False)
        return rows

    def _is_key(self, key: str) -> Expression:
        return equals(exp.column("key"), self._words.text(key))

    def _add(self, name: tuple[str, ...], rows: exp.Select, on: tuple[str, ...], table: str) -> str:
        if self._tables is not None and table not in self._tables:
            raise UnsupportedOperatorError(
                f"{name[-1]} is in the table {table}, which is not at hand here", operator=""
            )
        alias = f"j{len(self._joins) + 1}"
        self._aliases[name] = alias
        self._joins.append((alias, rows, on))
        return alias
