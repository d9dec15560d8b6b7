"""What `artifact get` and `files get` share: how files are shown as they come, and the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import click

from wbsync.cli.diagnostics import ExitCode
from wbsync.plain import plain
from wbsync.progress import FileFetched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.download import Fetched
    from wbsync.progress import Event

SHOWN = 20
"""Failures and references that are named one by one."""


class FilesWatcher:
    """A progress hook for downloads; use it in a `with` statement."""

    def __init__(self, say: Diagnostics) -> None:
        self._say = say
        self._bars: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._say.is_terminal() and not self._say.quiet:
            from rich.console import Console
            from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False), DownloadColumn(),
                TransferSpeedColumn(),
                console=Console(stderr=True, no_color=not self._say.use_color()), transient=True,
            )  # fmt: skip
            self._task = self._bars.add_task("files", total=None)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Takes an event."""
        if isinstance(event, FileFetched):
            if self._bars is not None:
                self._bars.update(self._task, advance=event.bytes)
            if event.is_last:
                self._say.detail(event.name)


def print_report(folder: Path, fetched: Fetched, say: Diagnostics, *, as_json: bool) -> ExitCode:
    """Prints what was done, and returns how the command ends."""
    if fetched.note is not None:
        say.note(fetched.note)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **asdict(fetched)}))
    elif say.quiet:
        _list("failed", fetched.failed, say.error)
    else:
        click.echo(
            f"{len(fetched.downloaded):,} downloaded ({fetched.bytes / 1e6:,.1f} MB),"
            f" {len(fetched.cached):,} from the cache, {len(fetched.kept):,} there already,"
            f" {len(fetched.failed):,} failed"
        )
        _list("failed", fetched.failed, click.echo)
        _list("reference, left where it is:", fetched.references, click.echo)
        click.echo(f"folder: {folder}")
    return ExitCode.PARTIAL if fetched.failed else ExitCode.OK


def _list(label: str, named: dict[str, str], tell: Callable[[str], None]) -> None:
    for name, text in list(named.items())[:SHOWN]:
        tell(f"{label} {plain(name)}: {plain(text)}")
    if len(named) > SHOWN:
        tell(f"… and {len(named) - SHOWN:,} more; see --json")
