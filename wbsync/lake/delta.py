"""The lake: one Delta table a kind of thing, below `lake/` in the warehouse folder.

Every write is one Delta commit, so a kill leaves either all of it or none. Rows are replaced by
writing the files that hold them anew, found by a join: no value of a row is ever part of a query's
text.
"""

from __future__ import annotations

import dataclasses
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from sqlglot import exp

from wbsync.errors import SchemaMismatchError, WarehouseError
from wbsync.lake.commit import ADDED_IN, Guard, make_commit, removals
from wbsync.lake.files import regrouped, write_files
from wbsync.lake.log import newest_first
from wbsync.lake.scan import FILENAME, DataFile, Part, scan
from wbsync.tables import load_table, table_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deltalake.transaction import AddAction, RemoveAction

Filter = tuple[str, str, Any]
"""Column, `=` or `in`, value or values."""

SEGMENT_TABLES = frozenset({"history", "system_metrics", "console_logs", "artifact_files"})
TARGET_FILE_BYTES = 16 * 1024 * 1024
READER: dict[str, Any] = {"threads": 2, "memory_limit": "256MB"}
BATCH_ROWS = 2048
"""Rows that DuckDB hands over at once: few, as rows may be of any size."""

BOUNDED = ("entity", "project")
"""Columns whose bounds in a file are of interest."""


class Lake:
    """The Delta tables of a warehouse."""

    def __init__(self, root: Path) -> None:
        """Takes the warehouse's folder; tables come into being when they are written."""
        self.root = root.resolve() / "lake"
        """Folder of the tables."""
        self._tables: dict[str, DeltaTable] = {}
        self._footers: dict[Path, frozenset[str]] = {}
        """Columns of files that may lack some: a file never changes."""

    def path(self, table: str) -> Path:
        """Returns the folder of a table, which need not exist."""
        return self.root / table

    def tables(self) -> list[str]:
        """Returns the names of the tables that exist, in alphabetical order."""
        return [name for name in table_names() if self.version(name) is not None]

    def _open(self, table: str) -> DeltaTable | None:
        """Returns a table at its newest version, None where it does not exist."""
        found = self._tables.get(table)
        try:
            if found is None:
                if not (self.path(table) / "_delta_log").is_dir():
                    return None
                found = self._tables[table] = DeltaTable(self.path(table))
            else:
                found.update_incremental()
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise WarehouseError(_unreadable(self.path(table), error)) from error
        return found

    def version(self, table: str) -> int | None:
        """Returns the newest version of a table, None where it does not exist."""
        found = self._open(table)
        return None if found is None else int(found.version())

    def data_files(self, table: str, version: int | None = None) -> list[DataFile]:
        """Returns the Parquet files of a table as its log describes them, sorted by path.

        Args:
            table: Table to look at.
            version: Version to look at, None for the newest.
        """
        actions = self._actions(table, version)
        if actions is None:
            return []
        wanted = ["path", "size_bytes", "num_records"]
        wanted += [f"{side}.{name}" for name in BOUNDED for side in ("min", "max")]
        known = actions.select([name for name in wanted if name in actions.column_names])
        files = [
            DataFile(
                self.path(table) / unquote(action["path"]),
                action["size_bytes"],
                action.get("num_records"),
                {
                    name: (action[f"min.{name}"], action[f"max.{name}"])
                    for name in BOUNDED
                    if isinstance(action.get(f"min.{name}"), str)
                    and isinstance(action.get(f"max.{name}"), str)
                },
            )
            for action in known.to_pylist()
        ]
        return sorted(files, key=lambda file: file.path)

    def files(self, table: str, version: int | None = None) -> list[Path]:
        """Returns the paths of a table's Parquet files, absolute and sorted."""
        actions = self._actions(table, version)
        paths = [] if actions is None else actions["path"].to_pylist()
        return sorted(self.path(table) / unquote(path) for path in paths)

    def _actions(self, table: str, version: int | None) -> pa.Table | None:
        """Returns what a table's log says of its files, None where the table does not exist."""
        found = self._open(table) if version is None else self._open_at(table, version)
        return None if found is None else pa.table(found.get_add_actions(flatten=True))

    def parts(
        self, table: str, files: Sequence[Path] | None = None, version: int | None = None
    ) -> list[Part]:
        """Returns a table's files, those apart that were written before a column was added.

        Args:
            table: Table to look at.
            files: Some of its files, None for all.
            version: Version to look at, None for the newest.
        """
        found = self._open(table) if version is None else self._open_at(table, version)
        if found is None:
            return []
        chosen = self.files(table, version) if files is None else files
        held = {field.name: field for field in found.schema().fields}
        absent = frozenset(c.name for c in load_table(table).columns if c.name not in held)
        added = {name for name, field in held.items() if ADDED_IN in field.metadata}
        if not added:
            return [Part(tuple(chosen), absent)] if chosen else []
        by_lacking: dict[frozenset[str], list[Path]] = {}
        for file in chosen:
            if file not in self._footers:
                try:
                    self._footers[file] = frozenset(pq.read_schema(file).names)
                except (OSError, pa.ArrowInvalid) as error:
                    raise WarehouseError(_unreadable(file, error)) from error
            by_lacking.setdefault(absent | (added - self._footers[file]), []).append(file)
        return [Part(tuple(files), lacking) for lacking, files in by_lacking.items()]

    def _open_at(self, table: str, version: int) -> DeltaTable:
        try:
            return DeltaTable(self.path(table), version=version)
        except (DeltaError, OSError) as error:
            raise WarehouseError(_unreadable(self.path(table), error)) from error

    def commits(self, table: str, since: int | None) -> list[tuple[int, dict[str, Any]]]:
        """Returns (version, commit metadata) of the commits after a version, oldest first."""
        found = self._open(table)
        if found is None:
            return []
        first = -1 if since is None else since
        wanted = int(found.version()) - first
        history = found.history(wanted) if wanted > 0 else []
        return [(int(c["version"]), c) for c in reversed(history) if int(c["version"]) > first]

    def newest_metadata(self, table: str, key: str) -> str | None:
        """Returns what the newest commit of a table that has such metadata says, None for none."""
        for commit in newest_first(self.path(table)):
            if key in commit.metadata:
                return str(commit.metadata[key])
        return None

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
        with Guard(self.path(table)):
            return self._commit(table, list(self._write(table, [rows])), metadata)

    def replace(
        self,
        table: str,
        scope: pa.Table,
        rows: pa.Table,
        metadata: dict[str, str],
        lost: Sequence[Path] = (),
    ) -> int | None:
        """Puts rows in the place of those that equal a row of `scope`, in one commit.

        Files that hold none of them stay as they are; the others are written anew.

        Args:
            table: Table to write.
            scope: What goes: rows whose columns of these names equal one of these rows.
            rows: What comes, in the table's schema.
            metadata: Commit metadata.
            lost: Files that cannot be read: they go, with all that was in them.

        Returns:
            The new version, None where nothing went and nothing came.

        Raises:
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused.
        """
        touched = self._files_with(table, scope, lost)
        if not touched and not lost:
            return self.append(table, rows, metadata) if rows.num_rows or metadata else None
        with Guard(self.path(table)), duckdb.connect(config=READER) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("scope", scope)
            # History's files run key by key: what stays of each goes to a file of its own.
            groups = [[f] for f in touched] if table in SEGMENT_TABLES else [touched]
            remaining = (self._without(connection, table, files, scope) for files in groups)
            if table in SEGMENT_TABLES:
                new = [
                    action for part in (*remaining, [rows]) for action in self._write(table, part)
                ]
            else:
                new = [*self._write(table, chain(*remaining, [rows]))]
            gone = removals([*touched, *lost], data_change=True)
            return self._commit(table, [*new, *gone], metadata)

    def _without(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        files: list[Path],
        scope: pa.Table,
    ) -> Iterator[pa.Table]:
        """Yields the rows of some files that equal no row of `scope`, registered by that name."""
        held = _rows_of(scan(load_table(table), self.parts(table, files)))
        keep = held.join("scope", using=list(scope.column_names), join_type="anti")
        stay = connection.sql(keep.sql("duckdb")).to_arrow_reader(BATCH_ROWS)
        yield from regrouped(stay, load_table(table).arrow())

    def rewrite(
        self,
        table: str,
        files: Sequence[Path],
        rows: Iterable[pa.Table],
        metadata: dict[str, str],
        target_bytes: int,
    ) -> int:
        """Puts the same rows into other files, in one commit that says nothing has changed.

        Args:
            table: Table to write.
            files: Files that go.
            rows: All their rows, in the order in which they are to lie.
            metadata: Commit metadata.
            target_bytes: Size at which a next file is begun.

        Raises:
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused, or other rows came than went.
        """
        with Guard(self.path(table)):
            schema = load_table(table).arrow()
            new = [*write_files(self.path(table), schema, rows, target_bytes)]
            came = sum(pq.read_metadata(self.path(table) / a.path).num_rows for a in new)
            went = sum(pq.read_metadata(f).num_rows for f in files)
            if came != went:
                raise WarehouseError(f"{self.path(table)}: {went} rows became {came}")
            added = [dataclasses.replace(action, data_change=False) for action in new]
            return self._commit(table, [*added, *removals(files, data_change=False)], metadata)

    def drop(self, table: str, files: Sequence[Path], metadata: dict[str, str]) -> int:
        """Takes files out of a table, with all rows that were in them, in one commit."""
        with Guard(self.path(table)):
            return self._commit(table, removals(files, data_change=True), metadata)

    def _files_with(self, table: str, scope: pa.Table, lost: Sequence[Path]) -> list[Path]:
        """Returns the files that hold a row which equals one of `scope`, lost ones left out."""
        files = [file for file in self.files(table) if file not in lost]
        if not files or not scope.num_rows:
            return []
        names = list(scope.column_names)
        query = _rows_of(scan(load_table(table), self.parts(table, files), names, filename=True))
        query = query.select(FILENAME, append=False)
        query = query.join("scope", using=names, join_type="semi").distinct()
        try:
            with duckdb.connect(config=READER) as connection:
                connection.register("scope", scope)
                found = connection.sql(query.sql("duckdb")).fetchall()
        except duckdb.Error as error:
            raise WarehouseError(_unreadable(self.path(table), error)) from error
        held = {Path(name).name for (name,) in found}
        return [f for f in files if f.name in held]

    def _write(self, table: str, tables: Iterable[pa.Table]) -> Iterator[AddAction]:
        target = None if table in SEGMENT_TABLES else TARGET_FILE_BYTES
        return write_files(self.path(table), load_table(table).arrow(), tables, target)

    def _commit(
        self, table: str, actions: Sequence[AddAction | RemoveAction], metadata: dict[str, str]
    ) -> int:
        make_commit(
            self.path(table), self._open(table), load_table(table).arrow(), actions, metadata
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
        needed = [*names, *(column for column, _, _ in filters if column not in names)]
        query = _rows_of(scan(load_table(table), self.parts(table), needed)).select(
            *(exp.column(name, quoted=True) for name in names), append=False
        )
        parameters: dict[str, Any] = {}
        for number, (column, operator, value) in enumerate(filters):
            name = f"value_{number}"
            held, given = exp.column(column, quoted=True), exp.Placeholder(this=name)
            among = held.isin(query=exp.select(exp.Unnest(expressions=[given])))
            query = query.where(among if operator == "in" else held.eq(given))
            parameters[name] = value
        try:
            with duckdb.connect(config=READER) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                rows = connection.sql(query.sql("duckdb"), params=parameters or None)
                return rows.to_arrow_table().cast(wanted)
        except duckdb.Error as error:
            raise WarehouseError(_unreadable(self.path(table), error)) from error

    def row_count(self, table: str) -> int:
        """Returns the number of rows of a table's newest version."""
        return sum(pq.read_metadata(f).num_rows for f in self.files(table))


def _rows_of(query: exp.Query) -> exp.Select:
    """Returns the query for the rows of a query."""
    return exp.select("*").from_(query.subquery("held"))


def _unreadable(path: Path, error: Exception) -> str:
    return f"cannot read {path}: {error}; `wbsync verify` says what is damaged"
