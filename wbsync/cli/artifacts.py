"""`wbsync artifacts`: ask for versions of artifacts, or for their collections."""

from __future__ import annotations

from typing import Any

import click

from wbsync.cli.asking import ask_and_write, asking_options
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.cli.output import OutputOptions  # noqa: TC001


@click.command()
@click.argument("path", metavar="[ENTITY/PROJECT]", required=False)
@click.option("--collections", is_flag=True, help="List collections instead of versions.")
@asking_options
@click.pass_obj
def command(
    shared: Globals, /, *, path: str | None, collections: bool, output: OutputOptions, **asked: Any
) -> None:
    """List artifact versions, or collections, that pass a filter in W&B's language.

    \b
    Examples:
      wbsync artifacts my-team/my-project --filter '{"type": "dataset", "aliases": "latest"}'
      wbsync artifacts my-team/my-project --filter '{"metadata.rows": {"$gt": 1000}}' --order -size
      wbsync artifacts my-team/my-project --collections
    """
    ask_and_write(shared, "collections" if collections else "artifacts", path, output, **asked)
