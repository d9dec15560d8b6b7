"""Where rows go: the options that commands share, and the only writer of standard output's data."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.query import Result

F = TypeVar("F", bound="Callable[..., Any]")

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet", "arrow")
ENDINGS = {"md": "markdown", "feather": "arrow", "ipc": "arrow"} | {f: f for f in FORMATS}
BINARY = frozenset({"parquet", "arrow"})


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the rows of a command are to be written."""

    kind: str = "table"
    """One of FORMATS."""
    path: Path | None = None
    """File to write, which appears when it is complete; None for standard output."""

    def write(self, result: Result, say: Diagnostics) -> None:
        """Writes rows, and says when a table does not show all.

        Raises:
            click.UsageError: A binary format would go to a terminal.
        """
        if self.path is None and self.kind in BINARY and sys.stdout.isatty():
            raise click.UsageError(f"{self.kind} is not for a terminal: name a file with -o")
        if self._write(result):
            say.note("only the first rows are shown; --format csv or -o FILE has all")

    def _write(self, result: Result) -> bool:
        from wbsync.query.formats import write_result

        if self.path is None:
            has_more = write_result(result, self.kind, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return has_more
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                has_more = write_result(result, self.kind, file)
            Path(name).chmod(0o644)
            Path(name).replace(self.path)
        finally:
            Path(name).unlink(missing_ok=True)
        return has_more


def output_options(function: F) -> F:
    """Adds the options that say how rows are written; they arrive as one, named `output`."""

    @click.option("--format", "output_format", type=click.Choice(FORMATS),
                  help="Default: table, or what the ending of -o says.")  # fmt: skip
    @click.option("--json", "output_json", is_flag=True, help="The same as --format json.")
    @click.option("-o", "--output", "output_path", type=click.Path(dir_okay=False, path_type=Path),
                  help="Write to a file, which appears when it is complete.")  # fmt: skip
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        output_format: str | None,
        output_json: bool,
        output_path: Path | None,
        **kwargs: Any,
    ) -> Any:
        if output_json and output_format not in {None, "json"}:
            raise click.UsageError(f"--json and --format {output_format} do not go together")
        ending = output_path.suffix.lstrip(".").lower() if output_path else ""
        kind = output_format or ("json" if output_json else ENDINGS.get(ending, "table"))
        return function(*args, output=OutputOptions(kind, output_path), **kwargs)

    return wrapper  # type: ignore[return-value]
