"""Asks the published warehouse, read-only and closed in.

Three walls, each enough for most of what is to be kept out: the file is opened read-only; DuckDB
reaches no file but those below the lake, and its configuration is locked; statements are admitted
one by one (`admission.py`). DuckDB keeps one instance a path within a process, so the newest of
the numbered builds is opened, which is another path after each publication.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from wbsync.errors import QueryError, StatementRefusedError, WarehouseError
from wbsync.plain import first_line, plain
from wbsync.query.admission import Admitted, admit
from wbsync.query.interruptible import interruptible
from wbsync.query.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

MEMORY_LIMIT = "2GB"
MAX_THREADS = 8
BATCH_ROWS = 65_536
HIDDEN_SCHEMAS = frozenset({"_wbsync"})
"""Schemas of the published file that are its own business."""

_EXCERPT = re.compile(r"\n+LINE (?P<line>\d+): (?P<excerpt>.*)\n(?P<caret> *)\^", re.DOTALL)
_OUTSIDE = re.compile(r'Cannot access (?:file|directory) "(?P<path>.*?)"')


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column of a published table."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A published table or view."""

    name: str
    """With its schema in front where that is not `main`."""
    kind: str
    """table or view."""
    comment: str
    rows: int | None
    """None where its rows cannot be read."""
    columns: tuple[ColumnInfo, ...]


def published_path(root: Path) -> Path | None:
    """Returns the newest published file, None before a first sync has published one."""
    builds = [p for p in (root / "catalog").glob("*.duckdb") if p.stem.isdigit()]
    if builds:
        return max(builds, key=lambda p: int(p.stem))
    published = root / "warehouse.duckdb"
    return published if published.is_file() else None


class Engine:
    """A read-only connection to a published warehouse; make it with `Engine.open`."""

    def __init__(self, root: Path, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.root = root
        self.path = path
        """The file that is open."""
        self._connection = connection

    @classmethod
    def open(cls, root: Path, path: Path | None = None) -> Engine:
        """Opens the newest published state of a warehouse.

        Args:
            root: Folder of the warehouse.
            path: Another file like the published one; None for that.

        Raises:
            WarehouseError: The folder is no warehouse, or nothing is published yet.
            MigrationError: A newer wbsync wrote it.
        """
        from wbsync.lake import check_warehouse

        root = root.resolve()
        check_warehouse(root)
        path = path or published_path(root)
        if path is None:
            if (root / "lake").is_dir():
                raise WarehouseError(f"nothing is published in {root}: run `wbsync publish`")
            raise WarehouseError(f"{root} holds nothing yet: run `wbsync sync ENTITY/PROJECT`")
        try:
            return cls(root, path, _connect(path, root / "lake"))
        except duckdb.Error as error:
            raise WarehouseError(
                f"cannot open {path}: {first_line(str(error))}; `wbsync publish --rebuild`"
                " makes it anew from the lake"
            ) from error

    def is_newest(self) -> bool:
        """Says whether nothing newer has been published since this was opened."""
        return published_path(self.root) == self.path

    def sql(self, text: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Result:
        """Runs the statements of a text, and returns the rows of the last one.

        Args:
            text: SQL; each statement must be one that only reads.
            params: Values for `?` (a sequence) or `$name` (a mapping).

        Raises:
            StatementRefusedError: A statement would write or reach outside; none was run.
            QueryError: The text does not parse, names what is not there, or failed.
        """
        result = None
        for run in self.statements(text, params):
            if result is not None:
                result.arrow()
            result = run()
        assert result is not None
        return result

    def statements(
        self, text: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[Callable[[], Result]]:
        """Returns what runs the statements of a text, one by one; everything else is as for `sql`.

        All of them are admitted before the first is run. The rows of one must be read before the
        next is run.
        """
        connection = self._connection.cursor()
        statements = _admitted(connection, text)
        return [
            partial(
                self._run,
                connection,
                statement.text,
                _bound(params, statement.parameters),
                f"statement {index + 1}: " if len(statements) > 1 else "",
            )
            for index, statement in enumerate(statements)
        ]

    def _run(
        self,
        connection: duckdb.DuckDBPyConnection,
        text: str,
        params: Any,
        where: str = "",
        names: list[str] | None = None,
    ) -> Result:
        def translate(error: Exception) -> Exception:
            return self._translated(error, text, where)

        try:
            reader = interruptible(lambda: _read(connection, text, params), connection.interrupt)
            return Result(reader, translate, names, connection.interrupt)
        except (duckdb.Error, ValueError) as error:
            raise translate(error) from error

    def run_trusted(self, text: str, params: Any = None, names: list[str] | None = None) -> Result:
        """Runs a query of wbsync's own, which holds no text of others but as parameters."""
        return self._run(self._connection.cursor(), text, params, names=names)

    def tables(self) -> list[TableInfo]:
        """Returns what there is to ask, in alphabetical order."""
        rows = self.run_trusted(
            "SELECT schema_name, table_name, 'table', coalesce(comment, '') FROM duckdb_tables()"
            " WHERE NOT internal UNION ALL"
            " SELECT schema_name, view_name, 'view', coalesce(comment, '') FROM duckdb_views()"
            " WHERE NOT internal ORDER BY 1, 2"
        ).fetchall()
        columns: dict[tuple[str, str], list[ColumnInfo]] = {}
        for schema, table, name, kind, comment in self.run_trusted(
            "SELECT schema_name, table_name, column_name, data_type, coalesce(comment, '')"
            " FROM duckdb_columns() WHERE NOT internal ORDER BY 1, 2, column_index"
        ).fetchall():
            columns.setdefault((schema, table), []).append(ColumnInfo(name, kind, comment))
        return [
            TableInfo(
                name=table if schema == "main" else f"{schema}.{table}",
                kind=kind,
                comment=comment,
                # Counting a view of a project would work out all of it.
                rows=self._count(schema, table) if schema == "main" else None,
                columns=tuple(columns.get((schema, table), ())),
            )
            for schema, table, kind, comment in rows
            if schema not in HIDDEN_SCHEMAS
        ]

    def _count(self, schema: str, table: str) -> int | None:
        from sqlglot import exp

        name = exp.table_(table, db=schema, quoted=True)
        query = exp.select(exp.Count(this=exp.Star())).from_(name)
        try:
            return int(self.run_trusted(query.sql("duckdb")).fetchall()[0][0])
        except (QueryError, WarehouseError):
            return None

    def close(self) -> None:
        """Closes the connection; results that are being read go on."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _translated(self, error: Exception, text: str, where: str = "") -> Exception:
        """Returns an error of DuckDB as one of ours: one line, with a position where known."""
        message = str(error)
        if outside := _OUTSIDE.search(message):
            path = outside["path"]
            if path not in text and Path(path).suffix == ".parquet":
                return WarehouseError(
                    f"the warehouse was moved or copied: its views still look for {plain(path)};"
                    " run `wbsync publish`"
                )
            return StatementRefusedError(
                f"{where}{plain(path)} is outside the warehouse: queries read its tables only"
            )
        described = where + _described(message, text)
        if str(self.root / "lake") in message and isinstance(error, duckdb.Error):
            return WarehouseError(f"{described}; `wbsync verify` says what is damaged")
        return QueryError(described)


def admitted(text: str) -> list[Admitted]:
    """Returns the statements of a text that is for another engine: the same ones may run there.

    Raises:
        StatementRefusedError: A statement would write or reach outside.
        QueryError: The text does not parse.
    """
    with duckdb.connect(":memory:") as connection:
        return _admitted(connection, text)


def _admitted(connection: duckdb.DuckDBPyConnection, text: str) -> list[Admitted]:
    if "\x00" in text:
        raise QueryError("the query holds a NUL character; take it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError("the query holds bytes that are no UTF-8; write it in UTF-8") from None
    try:
        return admit(connection, text)
    except duckdb.Error as error:
        raise QueryError(_described(str(error), text)) from error


def _connect(path: Path, lake: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        str(path),
        read_only=True,
        config={
            "threads": max(1, min(os.cpu_count() or 1, MAX_THREADS)),
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(_spill_folder()),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    locked = connection.execute("SELECT current_setting('lock_configuration')").fetchall()
    if locked and locked[0][0]:
        # The same file is open in this process already, by an Engine: it is closed in.
        return connection
    from sqlglot import exp

    folders = exp.Array(expressions=[exp.Literal.string(f"{lake}{os.sep}")]).sql("duckdb")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"SET allowed_directories = {folders}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _read(connection: duckdb.DuckDBPyConnection, text: str, params: Any) -> pa.RecordBatchReader:
    relation = connection.sql(text, params=params) if params else connection.sql(text)
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    return read(BATCH_ROWS)


@cache
def _spill_folder() -> Path:
    """Returns where queries of this process put what does not fit in memory.

    DuckDB lets queries read the folder, so it holds nothing else, and nobody can know its name
    before. It is the same for all connections: DuckDB opens a file once a process, with one
    configuration.
    """
    folder = Path(tempfile.mkdtemp(prefix="wbsync-spill-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _bound(params: Any, wanted: frozenset[str]) -> Any:
    """Returns the parameters that a statement asks for."""
    if params is None or not wanted:
        return None
    if isinstance(params, (str, bytes)) or not hasattr(params, "__len__"):
        raise QueryError("parameters must be a list for ? or a mapping for $name")
    if hasattr(params, "keys"):
        return {name: params[name] for name in wanted if name in params}
    return list(params)


def _headline(message: str) -> str:
    r"""Returns a message without the list of functions that it might have meant, one a line.

    >>> _headline("Binder Error: No function matches 'f(X)'.\n\tCandidate functions:\n\tf(Y)")
    "Binder Error: No function matches 'f(X)'."
    """
    head, listed, _ = message.partition("\n\tCandidate ")
    if listed and "VARCHAR" in head and "explicit type casts" in head:
        return f"{head.rstrip()} For example, CAST(x AS DOUBLE)."
    return head.rstrip() if listed else head


def _described(message: str, text: str) -> str:
    r"""Returns DuckDB's message as one line with line and column.

    >>> _described("Parser Error: syntax error\n\nLINE 1: selec 1\n        ^", "selec 1")
    'Parser Error: syntax error (line 1, column 1)'
    """
    head = plain(_headline(_EXCERPT.split(message)[0]).replace("\n", " "))
    match = _EXCERPT.search(message)
    if match is None:
        return head
    line = int(match["line"])
    column = len(match["caret"]) - len(f"LINE {line}: ")
    excerpt = match["excerpt"]
    lines = text.split("\n")
    if excerpt.startswith("...") and line <= len(lines):
        shown = excerpt.removeprefix("...").removesuffix("...")
        column += lines[line - 1].find(shown) - len("...")
    return f"{head} (line {line}, column {max(column, 0) + 1})"
