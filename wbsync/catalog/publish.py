"""Builds `warehouse.duckdb` from the lake, and swaps it in.

The published file is a product: built beside the old one and put in its place by an atomic
rename, so a reader is never locked out and never sees a half-made state. A build starts from a
copy of the last file and replaces what changed. DuckDB caches a file by its path within a
process, so each build also stands under a path of its own in `catalog/`, which wbsync itself opens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
from sqlglot import exp

from wbsync.errors import WarehouseError
from wbsync.lake.scan import scan
from wbsync.tables import TableSchema, load_table, table_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.lake import Lake
    from wbsync.lake.scan import Part

STORAGE_VERSION = "v1.0.0"
"""Format of the file: DuckDB 1.1.3 and everything later opens it."""

VIEW_TABLES = ("history", "system_metrics", "console_logs", "artifact_files")
"""Tables that stay Parquet: views over the files that the Delta snapshot lists."""

KEPT_BUILDS = 3
META = "_wbsync_published"


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did."""

    path: Path
    changed: tuple[str, ...]
    seconds: float


def publish(
    root: Path,
    lake: Lake,
    *,
    sync_log: pa.Table | None = None,
    same: Mapping[str, int] | None = None,
    anew: bool = False,
) -> Published:
    """Publishes the lake's newest version; where it is published already, touches nothing.

    Args:
        root: Folder of the warehouse.
        lake: Its lake.
        sync_log: Rows of the table sync_log, which is not in the lake and alone is no reason to
            publish.
        same: Table to an older version that holds the same rows as the newest: where that one is
            published, the published rows stay.
        anew: Whether to build the file from nothing, whatever is published.

    Raises:
        WarehouseError: The file cannot be built.
    """
    started = time.monotonic()
    target = root / "warehouse.duckdb"
    builds = root / "catalog"
    try:
        builds.mkdir(exist_ok=True)
        numbers = [int(p.stem) for p in builds.glob("*.duckdb") if p.stem.isdigit()]
        wanted = stamps_of(lake)
        newest = builds / f"{max(numbers, default=0)}.duckdb"
        held = stamps_in(newest)
        if not anew and is_published(newest, target) and held == wanted:
            return Published(target, (), time.monotonic() - started)
        build = builds / f"{max(numbers, default=0) + 1}.duckdb"
        temporary = builds / "building.duckdb"
        for leftover in (temporary, temporary.with_suffix(".duckdb.wal")):
            leftover.unlink(missing_ok=True)
        if held and not anew:
            shutil.copyfile(newest, temporary)
        older = {name: stamp_of(lake, name, version) for name, version in (same or {}).items()}
        changed = _build(temporary, lake, sync_log, wanted, older)
        temporary.replace(build)
        link = builds / "link.duckdb"
        link.unlink(missing_ok=True)
        try:
            os.link(build, link)
        except OSError:
            shutil.copyfile(build, link)
        link.replace(target)
        for number in sorted(numbers)[: 1 - KEPT_BUILDS]:
            with contextlib.suppress(OSError):
                (builds / f"{number}.duckdb").unlink()
    except (duckdb.Error, OSError) as error:
        raise WarehouseError(f"cannot publish {target}: {error}") from error
    return Published(target, tuple(changed), time.monotonic() - started)


def stamps_of(lake: Lake) -> dict[str, str]:
    """Returns, for each table of the lake, what its published form depends on."""
    return {
        name: stamp_of(lake, name, lake.version(name))
        for name in table_names()
        if name != "sync_log"
    }


def stamp_of(lake: Lake, name: str, version: int | None) -> str:
    """Returns what the published form of a version of a table depends on."""
    place = lake.root if name in VIEW_TABLES else ""
    return f"{version} {hash_of(load_table(name))} {place}"


def stamps_in(build: Path) -> dict[str, str]:
    """Returns the stamps that a build was made with, none where it cannot be read."""
    try:
        with attached(build) as connection:
            return dict(connection.execute(f"FROM published.{META}").fetchall())
    except (duckdb.Error, OSError):
        return {}


@contextlib.contextmanager
def attached(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a published file read-only as `published`, though an engine may have it open, too.

    Raises:
        duckdb.Error: It is no DuckDB file.
        OSError: It does not exist.
    """
    path.stat()
    with duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "256MB"}) as connection:
        name = exp.Literal.string(str(path)).sql("duckdb")
        connection.execute(f"ATTACH {name} AS published (READ_ONLY)")
        yield connection


def is_published(build: Path, target: Path) -> bool:
    """Says whether a build is what stands under the published name."""
    try:
        ours, theirs = build.stat(), target.stat()
    except OSError:
        return False
    is_same = (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
    return is_same or (ours.st_size == theirs.st_size and ours.st_mtime <= theirs.st_mtime)


def _build(
    path: Path,
    lake: Lake,
    sync_log: pa.Table | None,
    wanted: dict[str, str],
    older: dict[str, str],
) -> list[str]:
    """Brings a copy of the last build up to what is wanted; returns the tables that changed."""
    connection = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "256MB"})
    try:
        attach = exp.Literal.string(str(path)).sql("duckdb")
        connection.execute(f"ATTACH {attach} AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE published")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {META} (table_name VARCHAR PRIMARY KEY, stamp VARCHAR)"
        )
        stamps = dict(connection.execute(f"FROM {META}").fetchall())
        changed = []
        if sync_log is not None:
            write_table(connection, load_table("sync_log"), sync_log)
        for name, stamp in wanted.items():
            if stamps.get(name) == stamp:
                continue
            schema = load_table(name)
            if name in VIEW_TABLES:
                write_view(connection, schema, lake.parts(name))
            elif stamps.get(name) is None or stamps[name] != older.get(name):
                write_table(connection, schema, lake.parts(name))
            connection.execute(f"INSERT OR REPLACE INTO {META} VALUES (?, ?)", [name, stamp])  # noqa: S608
            changed.append(name)
        connection.execute("USE memory")
        connection.execute("DETACH published")
    finally:
        connection.close()
    return changed


def hash_of(schema: TableSchema) -> str:
    """Returns a short hash of a table's columns and comments."""
    import hashlib

    return hashlib.blake2b(repr(schema).encode(), digest_size=8).hexdigest()


def select_rows(schema: TableSchema, parts: Sequence[Part]) -> exp.Select:
    """Returns the query that reads a table's Parquet files, instants as UTC without a zone."""
    columns = []
    for column in schema.columns:
        value: Any = exp.column(column.name, quoted=True)
        if column.type == "TIMESTAMP":
            value = exp.func("make_timestamp", exp.func("epoch_us", value))
        columns.append(exp.alias_(value, column.name, quoted=True))
    return exp.select(*columns).from_(scan(schema, parts).subquery("held"))


def _drop(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    for (kind,) in connection.execute(
        "SELECT table_type FROM information_schema.tables"
        " WHERE table_catalog = 'published' AND table_schema = 'main' AND table_name = ?",
        [name],
    ).fetchall():
        connection.execute(f'DROP {"VIEW" if kind == "VIEW" else "TABLE"} "{name}"')


def write_view(
    connection: duckdb.DuckDBPyConnection, schema: TableSchema, parts: Sequence[Part]
) -> None:
    """Writes a table as a view over its files; as two where it marks deletions."""
    stored = _dropped(connection, schema)
    query = select_rows(schema, parts).sql("duckdb")
    connection.execute(f'CREATE VIEW "{stored}" AS {query}')
    _comment(connection, schema, stored, "VIEW")
    _write_rest(connection, schema, stored)


def write_table(
    connection: duckdb.DuckDBPyConnection,
    schema: TableSchema,
    rows: list[Part] | pa.Table,
) -> None:
    """Writes a table; one that marks deletions is `<name>_all`, and `<name>` a view of the rest."""
    stored = _dropped(connection, schema)
    columns = [f'"{c.name}" {c.type}{"" if c.nullable else " NOT NULL"}' for c in schema.columns]
    if schema.primary_key:
        columns.append(f"PRIMARY KEY ({', '.join(schema.primary_key)})")
    connection.execute(f'CREATE TABLE "{stored}" ({", ".join(columns)})')
    if isinstance(rows, list):
        query = select_rows(schema, rows).sql("duckdb")
        connection.execute(f'INSERT INTO "{stored}" {query}')
    elif rows.num_rows:
        connection.register("incoming", rows)
        names = ", ".join(
            f"make_timestamp(epoch_us({c.name}))" if c.type == "TIMESTAMP" else c.name
            for c in schema.columns
        )
        connection.execute(f'INSERT INTO "{stored}" SELECT {names} FROM incoming')  # noqa: S608
        connection.unregister("incoming")
    _comment(connection, schema, stored, "TABLE")
    _write_rest(connection, schema, stored)


def _dropped(connection: duckdb.DuckDBPyConnection, schema: TableSchema) -> str:
    """Makes room for a table; returns the name under which all its rows are to stand."""
    marks_deletions = any(c.name == "deleted_at" for c in schema.columns)
    stored = f"{schema.name}_all" if marks_deletions else schema.name
    for name in dict.fromkeys([schema.name, stored]):
        _drop(connection, name)
    return stored


def _write_rest(connection: duckdb.DuckDBPyConnection, schema: TableSchema, stored: str) -> None:
    """Writes the view of what is not deleted, for a table that marks deletions."""
    if stored == schema.name:
        return
    names = ", ".join(f'"{c.name}"' for c in schema.columns)
    connection.execute(
        f'CREATE VIEW "{schema.name}" AS SELECT {names} FROM main."{stored}"'  # noqa: S608
        " WHERE deleted_at IS NULL"
    )
    _comment(connection, schema, schema.name, "VIEW")


def _comment(
    connection: duckdb.DuckDBPyConnection, schema: TableSchema, name: str, kind: str
) -> None:
    def literal(text: str) -> Any:
        return exp.Literal.string(text).sql("duckdb")

    connection.execute(f'COMMENT ON {kind} "{name}" IS {literal(schema.comment)}')
    for column in schema.columns:
        connection.execute(
            f'COMMENT ON COLUMN "{name}"."{column.name}" IS {literal(column.comment)}'
        )
