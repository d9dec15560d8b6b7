"""Where rows go: the options that commands share, and the only writer of standard output's data."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wbsync.model import FORMATS

if TYPE_CHECKING:
    from typing import BinaryIO

    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.query import Result

F = TypeVar("F", bound="Callable[..., Any]")

ENDINGS = {f: f for f in FORMATS} | {
    "txt": "table", "md": "markdown", "ndjson": "jsonl", "pq": "parquet", "feather": "arrow",
    "ipc": "arrow",
}  # fmt: skip
"""Endings of files to the formats that they stand for."""
BINARY = frozenset({"parquet", "arrow"})
SEVERAL = frozenset({"table", "markdown"})
"""Formats that can hold several results, one below the other."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How the rows of a command are to be written."""

    kind: str = "table"
    """One of FORMATS."""
    path: Path | None = None
    """File to write, which appears when it is complete; None for standard output."""

    def write(self, results: Result | Sequence[Callable[[], Result]], say: Diagnostics) -> None:
        """Writes rows, and says when a table does not show all.

        Args:
            results: A result, or what makes several, one after the other.
            say: Where to say it.

        Raises:
            click.UsageError: A binary format would go to a terminal, or several results into a
                format that holds one.
        """
        made = results if isinstance(results, Sequence) else [lambda: results]
        if len(made) > 1 and self.kind not in SEVERAL:
            raise click.UsageError(
                f"{len(made)} statements give {len(made)} results, and {self.kind} holds one: ask"
                " them one by one, or take --format table"
            )
        if self.path is None:
            self._write(made, sys.stdout.buffer, say)
        elif _is_written_through(self.path):
            with self.path.open("wb") as file:
                self._write(made, file, say)
        else:
            self._replace(made, self.path.resolve(), say)

    def _replace(self, made: Sequence[Callable[[], Result]], path: Path, say: Diagnostics) -> None:
        """Writes a file beside the place, and moves it there when it is complete."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                self._write(made, file, say)
            if path.exists():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            temporary.replace(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(self.path)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, made: Sequence[Callable[[], Result]], out: BinaryIO, say: Diagnostics) -> None:
        from wbsync.query.formats import write_result

        screen = shutil.get_terminal_size().columns if out.isatty() else None
        if screen is not None and self.kind in BINARY:
            raise click.UsageError(f"{self.kind} is not for a terminal: name a file with -o")
        for index, make in enumerate(made):
            if index:
                out.write(b"\n")
            shown = write_result(make(), self.kind, out, screen=screen)
            out.flush()
            if shown:
                say.note(f"{shown} are shown; --format csv or -o FILE has all")


def _is_written_through(path: Path) -> bool:
    """Says whether a path is a device, a pipe or an open file, which must not be replaced."""
    return path.absolute().parts[1:2] in {("dev",), ("proc",)} or (
        path.exists() and not path.is_file()
    )


def _is_stdout(path: Path) -> bool:
    """Says whether a path is standard output, to which a shell may be appending."""
    try:
        return str(path) == "-" or os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def output_options(function: F) -> F:
    """Adds the options that say how rows are written; they arrive as one, named `output`."""

    @click.option("--format", "output_format", type=click.Choice([*FORMATS, "md"]),
                  help="Default: what the ending of -o says, else table.")  # fmt: skip
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
        if output_path is not None and _is_stdout(output_path):
            output_path = None
        if output_format == "md":
            output_format = "markdown"
        kind = output_format or ("json" if output_json else _kind_of(output_path))
        return function(*args, output=OutputOptions(kind, output_path), **kwargs)

    return wrapper  # type: ignore[return-value]


def _kind_of(path: Path | None) -> str:
    """Returns the format that the ending of a file stands for."""
    if path is None or _is_written_through(path):
        return "table"
    ending = path.suffix.lstrip(".").lower()
    if ending not in ENDINGS:
        raise click.UsageError(
            f"the ending of {path.name} stands for no format: end it in"
            f" {', '.join(f'.{e}' for e in sorted(ENDINGS))}, or say --format"
        )
    return ENDINGS[ending]
