"""What a published file records about itself, in the schema `_wbsync`.

From it the next publication knows what it may start from, which files of the lake are in, and
which names it has given: a schema or a column keeps its name, whatever comes beside it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from wbsync.catalog.writing import Connection

TABLES = """
CREATE SCHEMA _wbsync;
CREATE TABLE _wbsync.facts (name VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE _wbsync.files (table_name VARCHAR, file VARCHAR);
CREATE TABLE _wbsync.schemas (
    entity VARCHAR, project VARCHAR, schema_name VARCHAR, runs_shape VARCHAR, history_shape VARCHAR
);
CREATE TABLE _wbsync.columns (
    entity VARCHAR, project VARCHAR, part VARCHAR, key VARCHAR, kind VARCHAR, column_name VARCHAR
);
CREATE TABLE _wbsync.keys (
    entity VARCHAR, project VARCHAR, part VARCHAR, key VARCHAR,
    runs BIGINT, numbers BIGINT, booleans BIGINT, texts BIGINT
);
"""

Project = tuple[str, str]
"""Entity and project."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that were given to schemas and to their columns, as rows of the record."""

    schemas: tuple[tuple[str, ...], ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What a file says about itself."""

    facts: Mapping[str, str]
    files: Mapping[str, frozenset[str]]
    """Table to the names of the lake's files whose rows are in."""

    def names(self, fact: str) -> frozenset[str]:
        """Returns a fact that is a list of names."""
        return frozenset(self.facts.get(fact, "").split())


def create_record(connection: Connection) -> None:
    """Makes the empty record of a new file."""
    connection.execute(TABLES)


@contextmanager
def attached(path: Path) -> Iterator[Connection]:
    """Opens a published file read-only, as the database that names are looked up in.

    DuckDB opens a file once a process, with one configuration, and an engine may have it open.

    Raises:
        duckdb.Error: It does not exist, or is no DuckDB file.
    """
    with duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "256MB"}) as connection:
        place = exp.Literal.string(str(path)).sql("duckdb")
        connection.execute(f"ATTACH {place} AS published (READ_ONLY)")
        connection.execute("USE published")
        yield connection


def read_record(path: Path) -> Record | None:
    """Returns the record of a file; None where it has none that can be read."""
    try:
        with attached(path) as connection:
            facts = dict(connection.execute("FROM _wbsync.facts").fetchall())
            files: dict[str, set[str]] = {}
            for table, file in connection.execute("FROM _wbsync.files").fetchall():
                files.setdefault(table, set()).add(file)
            return Record(facts, {t: frozenset(held) for t, held in files.items()})
    except duckdb.Error:
        return None


def read_names(path: Path) -> Names:
    """Returns the names that a file has given; none where it cannot be read."""
    try:
        with attached(path) as connection:
            schemas = connection.execute("SELECT entity, project, schema_name FROM _wbsync.schemas")
            given = tuple(schemas.fetchall())
            return Names(given, tuple(connection.execute("FROM _wbsync.columns").fetchall()))
    except duckdb.Error:
        return Names()


def restore_names(connection: Connection, names: Names) -> None:
    """Gives a new file the names of the one it replaces."""
    for rows, statement in (
        (names.schemas, "INSERT INTO _wbsync.schemas VALUES (?, ?, ?, '', '')"),
        (names.columns, "INSERT INTO _wbsync.columns VALUES (?, ?, ?, ?, ?, ?)"),
    ):
        if rows:
            connection.executemany(statement, rows)


def record_facts(connection: Connection, facts: Mapping[str, str]) -> None:
    """Writes facts, in the place of those of the same name."""
    connection.execute(
        "INSERT OR REPLACE INTO _wbsync.facts SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
        [list(facts), list(facts.values())],
    )


def seen(gone: Iterable[str], pending: Iterable[str]) -> dict[str, str]:
    """Returns the facts that say what the plain views leave out and lay over."""
    return {"gone": " ".join(sorted(gone)), "pending": " ".join(sorted(pending))}


def record_files(connection: Connection, files: Mapping[str, Iterable[str]]) -> None:
    """Writes, for some tables, which files of the lake they are made of."""
    rows = [(table, file) for table, names in files.items() for file in names]
    tables, names = [table for table, _ in rows], [file for _, file in rows]
    connection.execute(
        "DELETE FROM _wbsync.files WHERE table_name IN (SELECT unnest(?::VARCHAR[]))", [list(files)]
    )
    connection.execute(
        "INSERT INTO _wbsync.files SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
        [tables, names],
    )
