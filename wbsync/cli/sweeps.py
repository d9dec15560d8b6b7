"""`wbsync sweeps`: ask for sweeps as one asks W&B."""

from __future__ import annotations

from typing import Any

import click

from wbsync.cli.asking import ask_and_write, asking_options
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.cli.output import OutputOptions  # noqa: TC001


@click.command()
@click.argument("path", metavar="[ENTITY/PROJECT]", required=False)
@asking_options
@click.pass_obj
def command(shared: Globals, /, *, path: str | None, output: OutputOptions, **asked: Any) -> None:
    """List sweeps that pass a filter in W&B's language.

    \b
    Examples:
      wbsync sweeps my-team/my-project
      wbsync sweeps my-team --filter '{"state": "FINISHED", "config.method": "bayes"}'
    """
    ask_and_write(shared, "sweeps", path, output, **asked)
