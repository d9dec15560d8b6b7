"""`wbsync sql`: ask the warehouse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wbsync.cli.options import Globals, decoded
from wbsync.cli.output import OutputOptions, output_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from wbsync.query import Engine
    from wbsync.query.spark import SparkEngine

F = TypeVar("F", bound="Callable[..., Any]")


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
        from wbsync.sync.publication import open_published

        return open_published(shared.root())
    from wbsync.query.spark import SparkEngine

    return SparkEngine.open(shared.root(), on, lake)


class SqlCommand(click.Command):
    """A command whose argument may begin with a comment, as SQL does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Tells a comment from an option: no option has a space in its name."""
        known = {name for p in self.params for name in p.opts}
        settled = []
        for arg in args:
            name = arg.partition("=")[0]
            is_comment = arg.startswith("--") and name not in known and len(arg.split()) > 1
            settled.append(f" {arg}" if is_comment else arg)
        return super().parse_args(ctx, settled)


@click.command(cls=SqlCommand)
@click.argument("query", required=False)
@click.option("-f", "--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Read the query from a file.")  # fmt: skip
@click.option(
    "--as-of", metavar="TIME",
    help="Ask the warehouse as it was: 2026-05-01T12:00Z, 2026-05-01 (its start, UTC), 2h, 3d.",
)  # fmt: skip
@output_options
@engine_options
@click.pass_obj
def command(
    shared: Globals, *, query: str | None, file: Path | None, output: OutputOptions,
    on: str | None, lake: str | None, as_of: str | None,
) -> None:  # fmt: skip
    """Run SQL that reads: SELECT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE.

    It can neither change the warehouse nor reach other files. Without QUERY or -f, it is read from
    standard input. Of several statements, divided by semicolons, a table or Markdown shows each
    result; the other formats hold one.

    \b
    Examples:
      wbsync sql "SELECT display_name, state FROM runs ORDER BY created_at DESC LIMIT 10"
      wbsync sql -f report.sql -o report.parquet
      echo "FROM sweeps" | wbsync sql --format jsonl
      wbsync sql --as-of 2d "SELECT state, count(*) FROM runs GROUP BY 1"
      wbsync sql --on sc://127.0.0.1:50051 "SELECT count(*) FROM history"
    """
    if query is not None and file is not None:
        raise click.UsageError("give the query as an argument or with -f, not both")
    if file is not None:
        query = decoded(file.read_bytes(), str(file))
    elif query is None or query == "-":
        if sys.stdin.isatty():
            raise click.UsageError(
                'there is no query; for example: wbsync sql "SELECT run_id, state FROM runs"'
            )
        query = decoded(sys.stdin.buffer.read(), "standard input")
    with (
        open_engine(shared, on, lake)
        if as_of is None
        else _past(shared, on, as_of, query) as engine
    ):
        output.write(engine.statements(query), shared.say)


def _past(
    shared: Globals, on: str | None, as_of: str, query: str
) -> AbstractContextManager[Engine]:
    """Returns the warehouse as it was; only DuckDB can show it."""
    from wbsync.warehouse import engine_as_of

    if on is not None:
        raise click.UsageError("--as-of is for the warehouse here, not for another engine (--on)")
    return engine_as_of(shared.root(), as_of, query)
