"""Where `-o` writes: files appear whole, devices and links are written through."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner

from wbsync.cli.diagnostics import Diagnostics
from wbsync.cli.output import OutputOptions, output_options
from wbsync.query.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable


def result(rows: int = 1, *, fails: bool = False) -> Result:
    """A result of some rows, which may fail half way."""
    schema = pa.schema([("n", pa.int64())])

    def batches() -> object:
        for number in range(rows):
            yield pa.record_batch([[number]], schema=schema)
        if fails:
            raise OSError(28, "No space left on device")

    return Result(pa.RecordBatchReader.from_batches(schema, batches()))


def write(path: Path | None, kind: str = "csv", **how: bool) -> None:
    """Writes a result of one row."""
    OutputOptions(kind, path).write(result(**how), Diagnostics())


def chosen(*args: str) -> OutputOptions | str:
    """Returns what the options add up to, or what is wrong with them."""
    found: list[OutputOptions] = []

    @click.command()
    @output_options
    def command(output: OutputOptions) -> None:
        found.append(output)

    said = CliRunner().invoke(command, args).output
    return found[0] if found else said


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a link leads to is replaced, whether or not it exists; permissions are kept."""
    link, target = tmp_path / "link.csv", tmp_path / "there" / "real.csv"
    target.parent.mkdir()
    link.symlink_to(target)
    write(link)
    assert target.read_text() == "n\n0\n"
    target.chmod(0o600)
    target.write_text("older and longer than what comes")
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "n\n0\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_devices_and_pipes_are_written_through(tmp_path: Path) -> None:
    """/dev/null stays what it is; a pipe's reader gets the rows."""
    write(Path("/dev/null"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join()
    assert read == ["n\n0\n"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """A failure leaves the last file as it was and nothing beside it, and names the file."""
    path = tmp_path / "x.csv"
    path.write_text("last")
    with pytest.raises(OSError, match="No space") as caught:
        OutputOptions("csv", path).write(result(5, fails=True), Diagnostics())
    assert caught.value.filename == str(path)
    assert path.read_text() == "last"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_several_results_need_a_format_that_holds_them(tmp_path: Path) -> None:
    """A table and Markdown show each result; the others are refused before anything is run."""
    made: list[Callable[[], Result]] = [result, result]
    path = tmp_path / "x"
    OutputOptions("table", path).write(made, Diagnostics())
    assert path.read_text().splitlines() == ["n", "-", "0", "", "n", "-", "0"]
    ran: list[int] = []

    def run() -> Result:
        ran.append(1)
        return result()

    with pytest.raises(click.UsageError, match="2 statements"):
        OutputOptions("csv", path).write([run, run], Diagnostics())
    assert not ran


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        ([], "table"), (["--json"], "json"), (["-o", "x.CSV"], "csv"), (["-o", "x.md"], "markdown"),
        (["-o", "x.xyz", "--format", "csv"], "csv"), (["-o", "x", "--json"], "json"),
        (["-o", "/dev/null"], "table"), (["-o", "-"], "table"), (["-o", "x.txt"], "table"),
        (["-o", "x.ipc", "--format", "parquet"], "parquet"),
    ],
)  # fmt: skip
def test_what_is_said_comes_before_the_ending(args: list[str], kind: str) -> None:
    """--format, else the ending of the file, else a table."""
    found = chosen(*args)
    assert isinstance(found, OutputOptions)
    assert found.kind == kind
    assert "-" not in args or found.path is None


@pytest.mark.parametrize("name", ["x.xyz", "x", "x.csv.gz"])
def test_an_unknown_ending_is_refused(name: str) -> None:
    """No file of a format that nobody asked for: the endings that there are are named."""
    said = chosen("-o", name)
    assert isinstance(said, str)
    assert name in said
    assert ".parquet" in said
    assert "--format" in said
