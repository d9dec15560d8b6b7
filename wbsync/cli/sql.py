"""`wbsync sql`: ask the warehouse."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wbsync.cli.options import Globals  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from wbsync.query import Engine, Result
    from wbsync.query.spark import SparkEngine

F = TypeVar("F", bound="Callable[..., Any]")
FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet")


def engine_options(function: F) -> F:
    """Adds the options that name another engine."""
    lake = click.option(
        "--lake", metavar="PATH",
        help="Where that engine finds the folder lake/ of the warehouse. Default: the path here.",
    )  # fmt: skip
    on = click.option(
        "--on", metavar="sc://HOST:PORT", envvar="WBSYNC_ON", show_envvar=True,
        help="Ask a Spark Connect engine over the same tables instead.",
    )  # fmt: skip
    return on(lake(function))


def open_engine(shared: Globals, on: str | None, lake: str | None = None) -> Engine | SparkEngine:
    """Returns the engine that is to be asked."""
    if on is None:
        from wbsync.query import Engine

        return Engine.open(shared.root())
    from wbsync.query.spark import SparkEngine

    return SparkEngine.open(shared.root(), on, lake)


@click.command()
@click.argument("query", required=False)
@click.option("-f", "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Read the query from a file.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(FORMATS),
              help="Default: table, or what the ending of -o says.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Write to a file, which appears when it is complete.")  # fmt: skip
@click.option(
    "--as-of", metavar="TIME",
    help="Ask the warehouse as it was: 2026-05-01T12:00Z, 2026-05-01 (its start, UTC), 2h, 3d.",
)  # fmt: skip
@engine_options
@click.pass_obj
def command(
    shared: Globals, *, query: str | None, path: Path | None, kind: str | None,
    output: Path | None, on: str | None, lake: str | None, as_of: str | None,
) -> None:  # fmt: skip
    """Run SQL that reads: SELECT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE.

    It can neither change the warehouse nor reach other files. Without QUERY or -f, it is read from
    standard input.

    \b
    Examples:
      wbsync sql "SELECT display_name, state FROM runs ORDER BY created_at DESC LIMIT 10"
      wbsync sql -f report.sql -o report.parquet
      echo "FROM sweeps" | wbsync sql --format jsonl
      wbsync sql --as-of 2d "SELECT state, count(*) FROM runs GROUP BY 1"
      wbsync sql --on sc://127.0.0.1:50051 "SELECT count(*) FROM history"
    """
    if query is not None and path is not None:
        raise click.UsageError("give the query as an argument or with -f, not both")
    if path is not None:
        query = path.read_text(encoding="utf-8")
    elif query is None or query == "-":
        if sys.stdin.isatty():
            raise click.UsageError('there is no query; for example: wbsync sql "FROM runs LIMIT 5"')
        query = sys.stdin.read()
    with open_engine(shared, on, lake) if as_of is None else _past(shared, on, as_of) as engine:
        write_rows(shared, engine.sql(query), output_kind(kind, output), output)


def _past(shared: Globals, on: str | None, as_of: str) -> AbstractContextManager[Engine]:
    """Returns the warehouse as it was; only DuckDB can show it."""
    from wbsync.warehouse import engine_as_of

    if on is not None:
        raise click.UsageError("--as-of is for the warehouse here, not for another engine (--on)")
    return engine_as_of(shared.root(), as_of)


def output_kind(kind: str | None, output: Path | None) -> str:
    """Returns the format that is asked for, or that the file's ending says."""
    if kind is not None:
        return kind
    ending = output.suffix.lstrip(".").lower() if output else ""
    return {"md": "markdown"}.get(ending, ending) if ending in {*FORMATS, "md"} else "table"


def write_rows(shared: Globals, result: Result, kind: str, output: Path | None) -> None:
    """Writes rows to a file or to standard output, and says when a table does not show all."""
    if output is None and kind == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: name a file with -o")
    if _write(result, kind, output):
        shared.say.note("only the first rows are shown; --format csv or -o FILE has all")


def _write(result: Result, kind: str, output: Path | None) -> bool:
    from wbsync.query.formats import write_result

    if output is None:
        has_more = write_result(result, kind, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return has_more
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            has_more = write_result(result, kind, file)
        Path(name).chmod(0o644)
        Path(name).replace(output)
    finally:
        Path(name).unlink(missing_ok=True)
    return has_more
