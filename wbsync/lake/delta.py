"""The lake: one Delta table a kind of thing, below `lake/` in the warehouse folder.

Every write is one Delta commit, so a kill leaves either all of it or none. Rows are replaced by
writing the files that hold them anew, found by a join: no value of a row is ever part of a query's
text.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from sqlglot import exp

from wbsync.errors import (
    CommitConflictError,
    MigrationError,
    SchemaMismatchError,
    WarehouseError,
    write_problem,
)
from wbsync.lake.disk import persist, persist_names, replace_durably
from wbsync.lake.files import regrouped, write_files
from wbsync.lake.log import newest_first, read_commit, versions_of
from wbsync.lake.scan import FILENAME, Part, scan
from wbsync.tables import load_table, table_names

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
BATCH_ROWS = 2048
"""Rows that DuckDB hands over at once: few, as rows may be of any size."""

REWRITE = "wbsync.rewrite"
"""Commit metadata of a commit that put the same rows into other files."""

ADDED_IN = "wbsync.added_in"
"""Field metadata of a column that came later than the table: files may lack it."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table, as the table's log describes it."""

    path: Path
    size: int
    rows: int | None
    bounds: dict[str, tuple[str, str]]
    """Column to its lowest and highest value, for columns of texts where the log says."""


class Lake:
    """The Delta tables of a warehouse."""

    def __init__(self, root: Path) -> None:
        """Takes the warehouse's folder; tables come into being when they are written."""
        self.root = root.resolve() / "lake"
        """Folder of the tables."""
        self._tables: dict[str, DeltaTable] = {}
        self._footers: dict[Path, frozenset[str]] = {}
        """Columns of files that may lack some: a file never changes."""
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._engine_lock = threading.Lock()

    def path(self, table: str) -> Path:
        """Returns the folder of a table, which need not exist."""
        return self.root / table

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Returns a connection that reads files, one of many to an engine that stays.

        An engine of its own would cost each read more than a small table does. What does not fit
        in memory waits within the warehouse.
        """
        with self._engine_lock:
            if self._engine is None:
                spill = self.root.parent / f"scratch-spill-{uuid.uuid4().hex}"
                self._engine = duckdb.connect(config={**READER, "temp_directory": str(spill)})
                self._engine.execute("SET GLOBAL TimeZone = 'UTC'")
            return self._engine.cursor()

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
        """Returns the Parquet files of a table, sorted by path.

        Args:
            table: Table to look at.
            version: Version to look at, None for the newest.
        """
        found = self._open(table) if version is None else self._open_at(table, version)
        if found is None:
            return []
        actions = pa.table(found.get_add_actions(flatten=True)).to_pylist()
        texts = [c.name for c in load_table(table).columns if c.type == "VARCHAR"]
        files = [
            DataFile(
                self.path(table) / unquote(action["path"]),
                action["size_bytes"],
                action.get("num_records"),
                {
                    name: (action[f"min.{name}"], action[f"max.{name}"])
                    for name in texts
                    if action.get(f"min.{name}") is not None
                    and action.get(f"max.{name}") is not None
                },
            )
            for action in actions
        ]
        return sorted(files, key=lambda file: file.path)

    def files(self, table: str, version: int | None = None) -> list[Path]:
        """Returns the paths of a table's Parquet files, absolute and sorted."""
        return [file.path for file in self.data_files(table, version)]

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
        """Returns (version, commit metadata) of the commits after a version, oldest first.

        delta-rs's own list of them is empty where a folder's name holds a `#`.
        """
        newest = self.version(table)
        if newest is None:
            return []
        versions = range(0 if since is None else since + 1, newest + 1)
        return [(v, read_commit(self.path(table), v).metadata) for v in versions]

    def newest_metadata(self, table: str, key: str) -> str | None:
        """Returns what the newest commit of a table that has such metadata says, None for none."""
        for commit in newest_first(self.path(table)):
            if key in commit.metadata:
                return str(commit.metadata[key])
        return None

    def append(
        self, table: str, rows: pa.Table | Sequence[pa.Table], metadata: dict[str, str]
    ) -> int:
        """Adds rows to a table in one commit, and returns the version.

        Raises:
            SchemaMismatchError: The rows do not fit the table's schema.
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused.
        """
        schema = load_table(table).arrow()
        parts = _parts_of(rows)
        for part in parts:
            if part.schema.names != schema.names:
                raise SchemaMismatchError(f"rows of {table} have the columns {part.schema.names}")
        with _Guard(self.path(table)):
            new = [action for part in parts for action in self._write(table, [part])]
            return self._commit(table, new, metadata)

    def replace(
        self,
        table: str,
        scope: pa.Table,
        rows: pa.Table | Sequence[pa.Table],
        metadata: dict[str, str],
        lost: Sequence[Path] = (),
    ) -> int | None:
        """Puts rows in the place of those that equal a row of `scope`, in one commit.

        Files that hold none of them stay as they are; the others are written anew.

        Args:
            table: Table to write.
            scope: What goes: rows whose columns of these names equal one of these rows.
            rows: What comes, in the table's schema; of a segment table, each part key by key.
            metadata: Commit metadata.
            lost: Files that go, whatever was in them: they cannot be read.

        Returns:
            The new version, None where nothing went and nothing came.

        Raises:
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused.
        """
        touched = self._files_with(table, scope, lost)
        if not touched and not lost:
            comes = any(part.num_rows for part in _parts_of(rows))
            return self.append(table, rows, metadata) if comes or metadata else None
        with _Guard(self.path(table)), self._connect() as connection:
            connection.register("scope", scope)
            if table in SEGMENT_TABLES:
                # Each file runs key by key, and so does what comes: what stays of each goes to a
                # file of its own.
                remaining = [self._without(connection, table, [f], scope) for f in touched]
                coming = ([part] for part in _parts_of(rows))
                new = [a for part in (*remaining, *coming) for a in self._write(table, part)]
            else:
                stay = self._without(connection, table, touched, scope) if touched else ()
                new = [*self._write(table, chain(stay, _parts_of(rows)))]
            gone = _removals([*touched, *lost], data_change=True)
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
        if not self.files(table):
            return None
        with self._reading(table) as connection:
            rows_of = scan(load_table(table), self.parts(table), filename=True)
            query = _rows_of(rows_of).where(condition).select(FILENAME, append=False).distinct()
            wanted = {n: v for n, v in parameters.items() if not n.startswith("new_")}
            names = connection.sql(query.sql("duckdb"), params=wanted or None).fetchall()
        touched = [self.path(table) / Path(name).name for (name,) in names]
        if not touched:
            return None
        actions: list[AddAction | RemoveAction] = []
        with _Guard(self.path(table)):
            for file in touched:
                part = scan(load_table(table), self.parts(table, [file]))
                query = _rows_of(part).select(*columns, append=False)
                with self._reading(table) as connection:
                    rows = connection.sql(query.sql("duckdb"), params=parameters)
                    batches = rows.to_arrow_reader(BATCH_ROWS)
                    actions += self._write(table, regrouped(batches, schema))
            actions += _removals(touched, data_change=True)
            return self._commit(table, actions, metadata)

    def rewrite(
        self,
        table: str,
        files: Sequence[Path],
        rows: Iterable[pa.Table],
        target_bytes: int,
    ) -> int:
        """Puts the same rows into other files, in one commit that says nothing has changed.

        Args:
            table: Table to write.
            files: Files that go.
            rows: All their rows, in the order in which they are to lie.
            target_bytes: Size at which a next file is begun.

        Raises:
            CommitConflictError: Another process committed first.
            WarehouseError: The disk refused, or other rows came than went.
        """
        with _Guard(self.path(table)):
            schema = load_table(table).arrow()
            new = [*write_files(self.path(table), schema, rows, target_bytes)]
            came = sum(pq.read_metadata(self.path(table) / a.path).num_rows for a in new)
            went = sum(pq.read_metadata(f).num_rows for f in files)
            if came != went:
                raise WarehouseError(f"{self.path(table)}: {went} rows became {came}")
            added = [dataclasses.replace(action, data_change=False) for action in new]
            actions: list[AddAction | RemoveAction] = [*added]
            actions += _removals(files, data_change=False)
            return self._commit(table, actions, {REWRITE: "1"})

    def rewrites(self, table: str, since: int | None) -> list[tuple[set[str], set[str]]]:
        """Returns, for each rewrite after a version, names of files that went and that came."""
        found = [version for version, info in self.commits(table, since) if REWRITE in info]
        commits = [read_commit(self.path(table), version) for version in found]
        return [(set(c.removed), set(c.added)) for c in commits]

    def drop(self, table: str, files: Sequence[Path], metadata: dict[str, str]) -> int:
        """Takes files out of a table, with all rows that were in them, in one commit."""
        with _Guard(self.path(table)):
            return self._commit(table, _removals(files, data_change=True), metadata)

    def can_be_opened(self, table: str) -> bool:
        """Says whether a table's log can be read, or the table does not exist."""
        try:
            self.data_files(table)
        except WarehouseError:
            return False
        return True

    def renew_log(self, table: str) -> str:
        """Makes a table whose log cannot be read one that can be written again.

        Without its newest commit, where that one alone is damaged; else empty, what there was of it
        put aside.

        Returns:
            What went.

        Raises:
            WarehouseError: The disk refused.
        """
        folder = self.path(table)
        with _Guard(folder):
            for version in versions_of(folder)[-1:]:
                commit = folder / "_delta_log" / f"{version:020}.json"
                aside = commit.with_name(f"{commit.name}.broken")
                self._tables.pop(table, None)
                replace_durably(commit, aside)
                if versions_of(folder) and self.can_be_opened(table):
                    return f"commit {version} of {table}, which could not be read"
                replace_durably(aside, commit)
            self._tables.pop(table, None)
            aside = folder.with_name(f"{table}.broken-{uuid.uuid4().hex[:8]}")
            folder.rename(aside)
            persist_names(self.root)
        return f"the table {table}, whose log could not be read; what there is of it is in {aside}"

    def _files_with(self, table: str, scope: pa.Table, lost: Sequence[Path]) -> list[Path]:
        """Returns the files, those that are lost left out, that hold a row like one of `scope`."""
        files = [file for file in self.files(table) if file not in lost]
        if not files or not scope.num_rows:
            return []
        names = list(scope.column_names)
        query = _rows_of(scan(load_table(table), self.parts(table, files), names, filename=True))
        query = query.select(FILENAME, append=False)
        query = query.join("scope", using=names, join_type="semi").distinct()
        try:
            with self._connect() as connection:
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
        schema = Schema.from_arrow(load_table(table).arrow())
        properties = CommitProperties(custom_metadata=metadata)
        found = self._open(table)
        before = -1 if found is None else int(found.version())
        persist_names(self.path(table))
        if found is None:
            create_table_with_add_actions(
                str(self.path(table)),
                schema,
                [a for a in actions if isinstance(a, AddAction)],
                configuration=CONFIGURATION,
                commit_properties=properties,
            )
        else:
            _evolve(found, schema)
            found.create_write_transaction(
                list(actions), "append", schema, commit_properties=properties
            )
        version = self.version(table)
        assert version is not None
        _persist_log(self.path(table) / "_delta_log", range(before + 1, version + 1))
        if found is None:
            for folder in (self.path(table), self.root, self.root.parent):
                persist_names(folder)
        return version

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        files: Sequence[Path] | None = None,
    ) -> pa.Table:
        """Returns rows of a table's newest version, in its schema; none where it does not exist.

        Args:
            table: Table to read.
            columns: Columns to read; None for all.
            filters: Which rows.
            files: Which of its files; None for all.
        """
        schema = load_table(table).arrow()
        names = list(columns) if columns is not None else schema.names
        wanted = pa.schema([schema.field(name) for name in names])
        parts = self.parts(table, files)
        if not parts:
            return wanted.empty_table()
        needed = [*names, *(column for column, _, _ in filters if column not in names)]
        query = _rows_of(scan(load_table(table), parts, needed)).select(
            *(exp.column(name, quoted=True) for name in names), append=False, copy=False
        )
        with self._reading(table) as connection:
            condition, parameters = _condition(filters)
            text = query.where(condition, copy=False).sql("duckdb", copy=False)
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
        parts = self.parts(table)
        if not parts:
            return {}
        group = exp.column(by, quoted=True)
        hashed = exp.func("bit_xor", exp.func("hash", *(exp.column(c, quoted=True) for c in of)))
        query = _rows_of(scan(load_table(table), parts)).select(
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
            with self._connect() as connection:
                yield connection
        except duckdb.Error as error:
            raise WarehouseError(_unreadable(self.path(table), error)) from error

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
            raise WarehouseError(f"cannot write {self._path}: {write_problem(error)}") from error


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


def _parts_of(rows: pa.Table | Sequence[pa.Table]) -> Sequence[pa.Table]:
    return [rows] if isinstance(rows, pa.Table) else rows


def _rows_of(query: exp.Query) -> exp.Select:
    """Returns the query for the rows of a query."""
    return exp.select("*").from_(query.subquery("held", copy=False), copy=False)


def _removals(files: Sequence[Path], *, data_change: bool) -> list[RemoveAction]:
    now = int(time.time() * 1000)
    return [
        RemoveAction(quote(f.name), data_change=data_change, deletion_timestamp=now) for f in files
    ]


def _evolve(found: DeltaTable, schema: Schema) -> None:
    """Adds to a table, in a commit of its own, the columns that an older wbsync did not know.

    Raises:
        MigrationError: A column may not be NULL, and so cannot be added to rows that are there; or
            a newer wbsync added one, which this one would leave out of the rows that it moves.
    """
    held = {field.name for field in found.schema().fields}
    if unknown := sorted(held - {field.name for field in schema.fields}):
        raise MigrationError(
            f"{found.table_uri} has {', '.join(unknown)}, of which this wbsync knows nothing: a"
            " newer one wrote it; upgrade wbsync, or only read"
        )
    new = [field for field in schema.fields if field.name not in held]
    if not new:
        return
    if required := [field.name for field in new if not field.nullable]:
        raise MigrationError(f"{found.table_uri} lacks {', '.join(required)}, never NULL")
    mark = {ADDED_IN: str(found.version() + 1)}
    found.alter.add_columns([Field(f.name, f.type, nullable=True, metadata=mark) for f in new])


def _persist_log(log: Path, versions: Iterable[int]) -> None:
    """Returns once commits, and the checkpoints made with them, are on the disk."""
    for version in versions:
        persist(log / f"{version:020}.json")
        checkpoint = log / f"{version:020}.checkpoint.parquet"
        if checkpoint.exists():
            persist(checkpoint)
            persist(log / "_last_checkpoint")
    persist_names(log)


def _unreadable(path: Path, error: Exception) -> str:
    reason = str(error).split("\n", 1)[0]  # where delta-rs adds a backtrace
    return f"cannot read {path}: {reason}; `wbsync verify` says what is damaged"
