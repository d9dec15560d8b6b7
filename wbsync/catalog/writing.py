"""Opens the published file that is being made, to write it.

Memory is bounded by what DuckDB is allowed, and DuckDB does not spill everything: the values of a
row group are compressed in memory, an index is built in it. So leaf tables are written in row
groups of DuckDB's own size, and everything else, with configs and summaries as JSON, in small ones
by one thread. Once there are small ones, the file must not be opened for large ones any more: a
checkpoint would merge them. What does not fit into the first limit is tried again with a greater
one, up to what the machine has.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
from sqlglot import exp

from wbsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Connection = duckdb.DuckDBPyConnection

T = TypeVar("T")

MEMORY = ("96MB", "384MB", None)
"""What DuckDB may use, tried in turn; None is its own default, four fifths of the machine's."""

SMALL_ROW_GROUP = 2048
LARGE_ROW_GROUP = 122_880
"""Rows of a row group; the large one is DuckDB's own. DuckDB 1.1.3 reads files with both."""

TOGETHER = 48

_FULL = re.compile(r"(failed to|could not) (allocate|pin)|out of memory", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """What kind of file is published."""

    storage_version: str = "v1.0.0"
    """Format of the file: DuckDB 1.1.3 and everything later opens v1.0.0."""
    materialize: bool = False
    """Whether the rows of history and the like are in the file, instead of views on the lake."""
    is_passing: bool = False
    """Whether the file is for a moment only: views on the lake for all tables, without a copy."""
    has_projects: bool = True
    """Whether each project has its schema."""


def check_storage_version(version: str) -> None:
    """Checks that DuckDB knows a format.

    Raises:
        ConfigError: It does not.
    """
    with duckdb.connect(":memory:") as connection:
        try:
            connection.execute("SET storage_compatibility_version = ?", [version])
        except duckdb.Error:
            raise ConfigError(
                f"DuckDB {duckdb.__version__} cannot write the storage version {version!r}; it is"
                " written like v1.0.0, v1.4.0 or latest"
            ) from None


@contextmanager
def writing(
    path: Path, form: Form, memory: str | None, *, row_group: int = SMALL_ROW_GROUP
) -> Iterator[Connection]:
    """Opens a file to write tables in it; at the end it is complete on its own, without a WAL.

    Args:
        path: The file; made where it is missing.
        form: What kind of file it is.
        memory: What DuckDB may use.
        row_group: Rows of a row group.
    """
    config: dict[str, Any] = {
        "threads": 1 if row_group == SMALL_ROW_GROUP else 2,
        "temp_directory": str(path.with_suffix(".spill")),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if memory is not None:
        config["memory_limit"] = memory
    options = {
        "STORAGE_VERSION": exp.Literal.string(form.storage_version),
        "ROW_GROUP_SIZE": exp.Literal.number(row_group),
    }
    attach = exp.Attach(
        this=exp.alias_(exp.Literal.string(str(path)), "published"),
        expressions=[
            exp.AttachOption(this=exp.var(name), expression=value)
            for name, value in options.items()
        ],
    )
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute(attach.sql("duckdb"))
        connection.execute("USE published")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")
        # A checkpoint that leaves what it says of unchanged tables where it was writes files,
        # after some patches, that DuckDB 1.1.3 and 1.4.0 do not open.
        connection.execute("SET experimental_metadata_reuse = false")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
        connection.execute("USE memory")
        connection.execute("DETACH published")


def run(connection: Connection, *statements: exp.Expression) -> None:
    """Executes statements one after the other."""
    for statement in statements:
        connection.execute(statement.sql("duckdb", copy=False))


def run_together(connection: Connection, statements: Sequence[exp.Expression]) -> None:
    """Executes many small statements, some at a time in one transaction.

    Each transaction waits for the disk; a change of a view keeps a copy of it until the end of one.
    """
    for start in range(0, len(statements), TOGETHER):
        connection.execute("BEGIN")
        run(connection, *statements[start : start + TOGETHER])
        connection.execute("COMMIT")


def with_enough_memory(work: Callable[[str | None], T]) -> T:
    """Returns what work gives, which is done anew with more memory where it did not suffice."""
    for memory in MEMORY:
        try:
            return work(memory)
        except duckdb.Error as error:
            if memory is None or not _FULL.search(str(error)):
                raise
    raise AssertionError("unreachable")
