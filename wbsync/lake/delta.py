"""The lake: one Delta table a kind of thing, below `lake/` in the warehouse folder.

The only module that imports deltalake. Every write is one Delta commit, so a kill leaves either
all of it or none. Rows are replaced by a merge against the rows to replace, so no value of a row
is ever part of a predicate's text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from sqlglot import exp

from wbsync.errors import CommitConflictError, SchemaMismatchError, WarehouseError
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Filter = tuple[str, str, Any]
"""Column, `=` or `in`, value or values."""

SEGMENT_TABLES = frozenset({"history", "system_metrics"})
TARGET_FILE_BYTES = 16 * 1024 * 1024
CONFIGURATION = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}
WRITER = WriterProperties(
    compression="ZSTD", compression_level=1, max_row_group_size=256 * 1024,
    statistics_truncate_length=64,
)  # fmt: skip
READER: dict[str, Any] = {"threads": 2, "memory_limit": "256MB"}
_MARK = "__incoming"


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
            write_deltalake(
                self._path(table),
                _plain(rows, schema),
                mode="append",
                configuration=CONFIGURATION,
                writer_properties=WRITER,
                target_file_size=None if table in SEGMENT_TABLES else TARGET_FILE_BYTES,
                commit_properties=CommitProperties(custom_metadata=metadata),
            )
        version = self.version(table)
        assert version is not None
        return version

    def replace(
        self, table: str, scope: pa.Table, rows: pa.Table, metadata: dict[str, str]
    ) -> int | None:
        """Puts rows in the place of those that equal a row of `scope`, in one commit.

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
        found = self._open(table)
        if found is None:
            return self.append(table, rows, metadata) if rows.num_rows or metadata else None
        names = scope.column_names
        keys = scope.group_by(names).aggregate([])
        held = self.read(table, columns=names, filters=_bounds(keys))
        is_held = held.num_rows and held.join(keys, names, join_type="left semi").num_rows
        if not is_held:
            return self.append(table, rows, metadata) if rows.num_rows or metadata else None
        schema = load_table(table).arrow()
        fields = [pa.field(_MARK, pa.bool_()), *(f.with_nullable(True) for f in schema)]
        wide = pa.schema(fields)
        gone = pa.Table.from_arrays(
            [
                pa.repeat(pa.scalar(False), keys.num_rows),
                *(
                    keys.column(f.name).cast(f.type)
                    if f.name in names
                    else pa.nulls(keys.num_rows, f.type)
                    for f in schema
                ),
            ],
            schema=wide,
        )
        plain = _plain(rows, schema)
        come = pa.Table.from_arrays(
            [pa.repeat(pa.scalar(True), rows.num_rows), *plain.columns],
            schema=wide,
        )
        source = pa.concat_tables([gone, come])
        match = " AND ".join(f"target.{name} = source.{name}" for name in names)
        with _Guard(self._path(table)):
            (
                found.merge(
                    source,
                    predicate=f"source.{_MARK} = false AND {match}",
                    source_alias="source",
                    target_alias="target",
                    writer_properties=WRITER,
                    commit_properties=CommitProperties(custom_metadata=metadata),
                )
                .when_matched_delete()
                .when_not_matched_insert(
                    {f.name: f"source.{f.name}" for f in schema},
                    predicate=f"source.{_MARK} = true",
                )
                .execute()
            )
        return self.version(table)

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
        query = exp.select(*(exp.column(name, quoted=True) for name in names)).from_(
            exp.func("read_parquet", exp.Placeholder(this="files"))
        )
        parameters: dict[str, Any] = {"files": [str(f) for f in files]}
        for column, operator, value in filters:
            held, given = exp.column(column, quoted=True), exp.Placeholder(this=column)
            among = held.isin(query=exp.select(exp.Unnest(expressions=[given])))
            query = query.where(among if operator == "in" else held.eq(given))
            parameters[column] = value
        try:
            with duckdb.connect(config=READER) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                rows = connection.sql(query.sql("duckdb"), params=parameters)
                return rows.to_arrow_table().cast(wanted)
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
        if isinstance(error, (DeltaError, OSError)):
            text = str(error)
            hint = (
                "the disk is full: free some room and sync again"
                if "No space left" in text or "os error 28" in text
                else text
            )
            raise WarehouseError(f"cannot write {self._path}: {hint}") from error


def _plain(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns rows with dictionary columns decoded, in the schema."""
    return rows.cast(schema)


def _bounds(keys: pa.Table) -> list[Filter]:
    """Returns a filter that every row equal to a key passes: the values of each column."""
    return [
        (name, "in", values.to_pylist())
        for name in keys.column_names
        if len(values := keys.column(name).unique()) <= 100_000
    ]
