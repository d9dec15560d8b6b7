"""The lake: one Delta table a kind of thing, below `lake/` in the warehouse folder.

Every write is one Delta commit, so a kill leaves either all of it or none. Rows are replaced by
writing the files that hold them anew, found by a join: no value of a row is ever part of a query's
text.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from sqlglot import exp

from wbsync.errors import CommitConflictError, SchemaMismatchError, WarehouseError
from wbsync.lake.files import ROW_GROUP_ROWS, write_files
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Filter = tuple[str, str, Any]
"""Column, `=` or `in`, value or values; `is` with None for NULL."""

SEGMENT_TABLES = frozenset({"history", "system_metrics", "console_logs", "artifact_files"})
TARGET_FILE_BYTES = 16 * 1024 * 1024
CONFIGURATION = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}
READER: dict[str, Any] = {"threads": 2, "memory_limit": "256MB"}


class Lake:
    """The Delta tables of a warehouse."""

    def __init__(self, root: Path) -> None:
        """Takes the warehouse's folder; tables come into being when they are written."""
        self.root = root.resolve() / "lake"
        """Folder of the tables."""
        self._tables: dict[str, DeltaTable] = {}

    def _path(self, table: str) -> Path:
        return self.root / table

    def _open(self, table: str) -> DeltaTable | None:
        """Returns a table at its newest version, None where it does not exist."""
        found = self._tables.get(table)
        try:
            if found is None:
                if not (self._path(table) / "_delta_log").is_dir():
                    return None
                found = self._tables[table] = DeltaTable(self._path(table))
            else:
                found.update_incremental()
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise WarehouseError(f"cannot read {self._path(table)}: {error}") from error
        return found

    def version(self, table: str) -> int | None:
        """Returns the newest version of a table, None where it does not exist."""
        found = self._open(table)
        return None if found is None else int(found.version())

    def files(self, table: str) -> list[Path]:
        """Returns the Parquet files of a table's newest version, as absolute paths."""
        found = self._open(table)
        if found is None:
            return []
        actions = pa.table(found.get_add_actions(flatten=True))
        return sorted(self._path(table) / unquote(p) for p in actions["path"].to_pylist())

    def commits(self, table: str, since: int | None) -> list[tuple[int, dict[str, Any]]]:
        """Returns (version, commit metadata) of the commits after a version, oldest first."""
        found = self._open(table)
        if found is None:
            return []
        first = -1 if since is None else since
        wanted = int(found.version()) - first
        history = found.history(wanted) if wanted > 0 else []
        return [(int(c["version"]), c) for c in reversed(history) if int(c["version"]) > first]

    def append(self, table: str, rows: pa.Table, metadata: dict[str, str]) -> int:
        """Adds rows to a table in one commit, and returns the version.

        Raises:
            SchemaMismatchError: The rows do not fit the table's schema.
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused.
        """
        schema = load_table(table).arrow()
        if rows.schema.names != schema.names:
            raise SchemaMismatchError(f"rows of {table} have the columns {rows.schema.names}")
        with _Guard(self._path(table)):
            return self._commit(table, list(self._write(table, [rows])), metadata)

    def replace(
        self, table: str, scope: pa.Table, rows: pa.Table, metadata: dict[str, str]
    ) -> int | None:
        """Puts rows in the place of those that equal a row of `scope`, in one commit.

        Files that hold none of them stay as they are; the others are written anew.

        Args:
            table: Table to write.
            scope: What goes: rows whose columns of these names equal one of these rows.
            rows: What comes, in the table's schema.
            metadata: Commit metadata.

        Returns:
            The new version, None where nothing went and nothing came.

        Raises:
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused.
        """
        touched = self._files_with(table, scope)
        if not touched:
            return self.append(table, rows, metadata) if rows.num_rows or metadata else None
        with _Guard(self._path(table)), duckdb.connect(config=READER) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("scope", scope)
            keep = _all_of([str(f) for f in touched]).join(
                "scope", using=list(scope.column_names), join_type="anti"
            )
            stay = connection.sql(keep.sql("duckdb")).to_arrow_reader(ROW_GROUP_ROWS)
            schema = load_table(table).arrow()
            remaining = (pa.Table.from_batches([batch]).cast(schema) for batch in stay)
            actions: list[AddAction | RemoveAction]
            if table in SEGMENT_TABLES:
                # What stays is key-major, and so is what comes: each in files of its own.
                actions = [*self._write(table, remaining), *self._write(table, [rows])]
            else:
                actions = [*self._write(table, chain(remaining, [rows]))]
            actions += _removals(touched)
            return self._commit(table, actions, metadata)

    def amend(
        self,
        table: str,
        filters: Sequence[Filter],
        values: Mapping[str, Any],
        metadata: dict[str, str],
    ) -> int | None:
        """Sets columns of some rows, in one commit.

        Files that hold none of them stay as they are; the others are written anew, one by one.

        Args:
            table: Table to write.
            filters: Which rows.
            values: Column to its new value.
            metadata: Commit metadata.

        Returns:
            The new version, None where there are no such rows.

        Raises:
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused.
        """
        schema = load_table(table).arrow()
        condition, parameters = _condition(filters)
        columns = []
        for name in schema.names:
            column: Any = exp.column(name, quoted=True)
            if name in values:
                parameters[f"new_{name}"] = values[name]
                given = exp.Placeholder(this=f"new_{name}")
                column = exp.Case().when(condition, given).else_(column).as_(name, quoted=True)
            columns.append(column)
        files = self.files(table)
        if not files:
            return None
        with self._reading(table) as connection:
            found = _all_of([str(f) for f in files], filename=True).where(condition)
            query = found.select("filename", append=False).distinct()
            wanted = {n: v for n, v in parameters.items() if not n.startswith("new_")}
            names = connection.sql(query.sql("duckdb"), params=wanted or None).fetchall()
        touched = [self._path(table) / Path(name).name for (name,) in names]
        if not touched:
            return None
        actions: list[AddAction | RemoveAction] = []
        with _Guard(self._path(table)):
            for file in touched:
                query = _all_of([str(file)]).select(*columns, append=False)
                with self._reading(table) as connection:
                    rows = connection.sql(query.sql("duckdb"), params=parameters)
                    batches = rows.to_arrow_reader(ROW_GROUP_ROWS)
                    tables = (pa.Table.from_batches([batch]).cast(schema) for batch in batches)
                    actions += self._write(table, tables)
            actions += _removals(touched)
            return self._commit(table, actions, metadata)

    def _files_with(self, table: str, scope: pa.Table) -> list[Path]:
        """Returns the files that hold a row which equals one of `scope`."""
        files = self.files(table)
        if not files or not scope.num_rows:
            return []
        query = _all_of([str(f) for f in files], filename=True).select("filename", append=False)
        query = query.join("scope", using=list(scope.column_names), join_type="semi").distinct()
        try:
            with duckdb.connect(config=READER) as connection:
                connection.register("scope", scope)
                found = connection.sql(query.sql("duckdb")).fetchall()
        except duckdb.Error as error:
            raise WarehouseError(f"cannot read {self._path(table)}: {error}") from error
        names = {Path(name).name for (name,) in found}
        return [f for f in files if f.name in names]

    def _write(self, table: str, tables: Iterable[pa.Table]) -> Iterator[AddAction]:
        target = None if table in SEGMENT_TABLES else TARGET_FILE_BYTES
        return write_files(self._path(table), load_table(table).arrow(), tables, target)

    def _commit(
        self, table: str, actions: Sequence[AddAction | RemoveAction], metadata: dict[str, str]
    ) -> int:
        schema = Schema.from_arrow(load_table(table).arrow())
        properties = CommitProperties(custom_metadata=metadata)
        found = self._open(table)
        if found is None:
            create_table_with_add_actions(
                str(self._path(table)),
                schema,
                [a for a in actions if isinstance(a, AddAction)],
                configuration=CONFIGURATION,
                commit_properties=properties,
            )
        else:
            found.create_write_transaction(
                list(actions), "append", schema, commit_properties=properties
            )
        version = self.version(table)
        assert version is not None
        return version

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
    ) -> pa.Table:
        """Returns rows of a table's newest version, in its schema; none where it does not exist."""
        schema = load_table(table).arrow()
        names = list(columns) if columns is not None else schema.names
        wanted = pa.schema([schema.field(name) for name in names])
        files = self.files(table)
        if not files:
            return wanted.empty_table()
        query = _all_of([str(f) for f in files]).select(
            *(exp.column(name, quoted=True) for name in names), append=False
        )
        with self._reading(table) as connection:
            condition, parameters = _condition(filters)
            text = query.where(condition).sql("duckdb")
            rows = connection.sql(text, params=parameters or None)
            return rows.to_arrow_table().cast(wanted)

    def digests(
        self, table: str, by: str, of: Sequence[str], filters: Sequence[Filter] = ()
    ) -> dict[str, tuple[int, int]]:
        """Returns, for each value of a column, its number of rows and a hash of them in any order.

        Args:
            table: Table to read.
            by: Column of texts.
            of: Columns that count for the hash, which holds within one process.
            filters: Which rows.
        """
        files = self.files(table)
        if not files:
            return {}
        group = exp.column(by, quoted=True)
        hashed = exp.func("bit_xor", exp.func("hash", *(exp.column(c, quoted=True) for c in of)))
        query = _all_of([str(f) for f in files]).select(
            group, exp.func("count", exp.Star()), hashed, append=False
        )
        with self._reading(table) as connection:
            condition, parameters = _condition(filters)
            text = query.where(condition).group_by(group).sql("duckdb")
            rows = connection.sql(text, params=parameters or None).fetchall()
        return {value: (count, digest) for value, count, digest in rows}

    @contextmanager
    def _reading(self, table: str) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with duckdb.connect(config=READER) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        except duckdb.Error as error:
            raise WarehouseError(f"cannot read {self._path(table)}: {error}") from error

    def row_count(self, table: str) -> int:
        """Returns the number of rows of a table's newest version."""
        return sum(pq.read_metadata(f).num_rows for f in self.files(table))


class _Guard:
    """Says what failed in words of the warehouse."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, CommitFailedError):
            raise CommitConflictError(
                f"{self._path}: another process wrote at the same time; sync again"
            ) from error
        if isinstance(error, (pa.ArrowInvalid, pa.ArrowTypeError)):
            raise SchemaMismatchError(f"rows do not fit {self._path}: {error}") from error
        if isinstance(error, (DeltaError, OSError, duckdb.Error)):
            text = str(error)
            hint = (
                "the disk is full: free some room and sync again"
                if "No space left" in text or "os error 28" in text
                else text
            )
            raise WarehouseError(f"cannot write {self._path}: {hint}") from error


def _all_of(files: list[str], *, filename: bool = False) -> exp.Select:
    """Returns the query for all rows of Parquet files."""
    paths = exp.Array(expressions=[exp.Literal.string(f) for f in files])
    options = [exp.EQ(this=exp.to_identifier("filename"), expression=exp.true())]
    read = exp.func("read_parquet", paths, *(options if filename else []))
    return exp.select("*").from_(read)


def _condition(filters: Sequence[Filter]) -> tuple[exp.Condition, dict[str, Any]]:
    """Returns what filters ask of a row, and the query's parameters."""
    parts: list[exp.Condition] = []
    parameters: dict[str, Any] = {}
    for column, operator, value in filters:
        held, given = exp.column(column, quoted=True), exp.Placeholder(this=column)
        if operator == "is":
            parts.append(held.is_(exp.null()))
            continue
        among = held.isin(query=exp.select(exp.Unnest(expressions=[given])))
        parts.append(among if operator == "in" else held.eq(given))
        parameters[column] = value
    return exp.and_(*parts) if parts else exp.true(), parameters


def _removals(files: Iterable[Path]) -> list[RemoveAction]:
    now = int(time.time() * 1000)
    return [RemoveAction(quote(f.name), data_change=True, deletion_timestamp=now) for f in files]
