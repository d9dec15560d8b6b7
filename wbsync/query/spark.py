"""Asks the same Delta tables on a Spark Connect engine: Spark, Databricks, Sail.

A query is admitted as DuckDB's, said in Spark's dialect, and run over temporary views of the
tables that it names. The views are the session's own: nothing on the engine is changed. What W&B
no longer has, and what belongs to it, is in `<table>_all` alone, as in the published file; instants
are UTC without a zone.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from wbsync.errors import ConfigError, EngineError, QueryError
from wbsync.plain import plain
from wbsync.query.engine import admitted
from wbsync.query.result import Result
from wbsync.query.transpile import to_spark
from wbsync.tables import OWNERS, TableSchema, load_table, table_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pyspark.sql.connect.session import SparkSession

logger = logging.getLogger(__name__)

DEFAULT_PORT = 15002
CONNECT_TIMEOUT_S = 10.0
MAX_MESSAGE = 400
NOT_IN_LAKE = frozenset({"sync_log", "edits", "edit_log"})
"""Tables that are kept beside the lake, and can be asked here only."""

SPARK_TYPES = {
    "VARCHAR": "string",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp_ntz",
}


class SparkEngine:
    """A session of a Spark Connect engine; make it with `SparkEngine.open`."""

    def __init__(self, root: Path, session: SparkSession, place: str, lake: str) -> None:
        self.root = root
        self.place = place
        """Host and port: the rest of the URL may hold a token."""
        self._session = session
        self._lake = lake
        self._views: set[str] = set()

    @classmethod
    def open(cls, root: Path, url: str, lake: str | None = None) -> SparkEngine:
        """Connects to an engine.

        Args:
            root: The warehouse's folder.
            url: `sc://HOST:PORT`, with Spark's own parameters behind, such as `/;use_ssl=true`.
            lake: Where the engine finds the lake's folder; None for the same path as here.

        Raises:
            ConfigError: The URL is none, or the client is not installed.
            EngineError: Nothing answers there.
            WarehouseError: The folder is no warehouse.
        """
        from wbsync.lake import check_warehouse

        root = root.resolve()
        check_warehouse(root)
        host, port = _address(url)
        place = f"{host}:{port}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its view on other libraries' versions
            try:
                from pyspark.sql.connect.session import SparkSession
            except ImportError:
                raise ConfigError(
                    "the Spark Connect client is missing: pip install 'wbsync[spark]'"
                ) from None
        try:
            # The client itself would try again for ten minutes.
            socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise EngineError(
                f"no engine answers at {place} ({error.strerror or error}); start one, for example"
                " with `sail spark server --port 50051`"
            ) from None
        with _translated(place):
            session = SparkSession.builder.remote(url).create()
            session.conf.set("spark.sql.session.timeZone", "UTC")
            # Else `${env:HOME}` in a text would be replaced by what it names.
            session.conf.set("spark.sql.variable.substitute", "false")
        return cls(root, session, place, lake or str(root / "lake"))

    def sql(self, text: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Result:
        """Runs the statements of a text, and returns the rows of the last one.

        Args:
            text: SQL, as DuckDB understands it; each statement must be a query.
            params: Values for `$name`.

        Raises:
            StatementRefusedError: A statement would write or reach outside; none was run.
            QueryError: The text does not parse, names what is not there, or failed.
            EngineError: The engine is gone.
        """
        return [run() for run in self.statements(text, params)][-1]

    def statements(
        self, text: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[Callable[[], Result]]:
        """Returns what runs the statements of a text, one by one; everything else is as for `sql`.

        All of them are admitted, and said in Spark's dialect, before the first is run.
        """
        statements = [to_spark(s.text, _named(params), _all_names()) for s in admitted(text)]
        for name in sorted({name for s in statements for name in s.tables}):
            self._view(name)
        return [partial(self._run, statement.text) for statement in statements]

    def _run(self, text: str) -> Result:
        logger.debug("asks %s: %s", self.place, text)
        with _translated(self.place):
            rows = self._session.sql(text).toArrow()
        return Result(_without_zones(rows).to_reader())

    def close(self) -> None:
        """Ends the session, and its views with it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._session.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _view(self, name: str) -> None:
        """Makes the view of a table, once."""
        if name in self._views:
            return
        from pyspark.sql.connect import functions as F  # noqa: N812

        schema = load_table(name.removesuffix("_all") if name not in table_names() else name)
        with _translated(self.place):
            frame = self._rows(schema)
            if name == schema.name:
                for owner in schema.owners:
                    gone = self._rows(load_table(owner)).where(F.col("deleted_at").isNotNull())
                    key = list(OWNERS[owner])
                    frame = frame.join(gone.select(*key), on=key, how="left_anti")
                if schema.marks_deletions:
                    frame = frame.where(F.col("deleted_at").isNull())
                frame = frame.select(*(c.name for c in schema.columns))
            frame.createOrReplaceTempView(name)
        self._views.add(name)

    def _rows(self, schema: TableSchema) -> Any:
        """Returns all rows of a table, what its files lack as NULL."""
        from pyspark.sql.connect import functions as F  # noqa: N812

        frame: Any = self._session.range(0)
        held: set[str] = set()
        if self._is_held(schema.name):
            frame = self._session.read.format("delta").load(f"{self._lake}/{schema.name}")
            held = set(frame.columns)
        columns = [
            (F.col(c.name) if c.name in held else F.lit(None))
            .cast(SPARK_TYPES[c.type]).alias(c.name)
            for c in schema.columns
        ]  # fmt: skip
        return frame.select(*columns)

    def _is_held(self, table: str) -> bool:
        from wbsync.lake import Lake

        return Lake(self.root).version(table) is not None


@contextlib.contextmanager
def _translated(place: str) -> Iterator[None]:
    """Says in our words, and in one line, what the client raises; its warnings are for no one."""
    import grpc
    from pyspark.errors import PySparkException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PySparkException, grpc.RpcError) as error:
        text = _first_line(str(error))
        if isinstance(error, grpc.RpcError) or "UNAVAILABLE" in text:
            raise EngineError(f"the engine at {place} does not answer: {text}") from error
        raise QueryError(f"the engine at {place} says: {text}") from error


def _first_line(text: str) -> str:
    line = plain(text.split("\n", 1)[0])
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _address(url: str) -> tuple[str, int]:
    """Returns the host and port of a Spark Connect URL, which may hold a token and is not shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if host is None or parts.scheme != "sc":
        raise ConfigError("an engine is named as sc://HOST:PORT, for example sc://127.0.0.1:50051")
    return host, port


def _named(params: Any) -> Mapping[str, Any] | None:
    if params is not None and not hasattr(params, "keys"):
        raise QueryError("parameters for another engine must be a mapping for $name")
    found: Mapping[str, Any] | None = params
    return found


def _all_names() -> list[str]:
    """Returns the names that a query may read."""
    names = [n for n in table_names() if n not in NOT_IN_LAKE]
    return sorted([*names, *(f"{n}_all" for n in names if load_table(n).leaves_out)])


def _without_zones(rows: Any) -> Any:
    """Returns rows with instants as UTC without a zone."""
    import pyarrow as pa

    fields = [
        f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in rows.schema
    ]
    return rows.cast(pa.schema([f.with_nullable(True) for f in fields]))
