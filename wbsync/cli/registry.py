"""`wbsync registry`: ask for registries, their collections, or the versions linked into them."""

from __future__ import annotations

from typing import Any

import click

from wbsync.cli.asking import ask_and_write, asking_options
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.cli.output import OutputOptions  # noqa: TC001


@click.command()
@click.argument("path", metavar="[ORGANIZATION[/REGISTRY]]", required=False)
@click.option("--collections", "kind", flag_value="registry_collections",
              help="List collections instead of registries.")  # fmt: skip
@click.option("--versions", "kind", flag_value="registry_versions",
              help="List the versions that are linked into them.")  # fmt: skip
@asking_options
@click.pass_obj
def command(
    shared: Globals, /, *, path: str | None, kind: str | None, output: OutputOptions, **asked: Any
) -> None:
    """List registries, collections or linked versions that pass a filter in W&B's language.

    \b
    Examples:
      wbsync registry my-org
      wbsync registry my-org/model --collections --filter '{"tag": "vision"}'
      wbsync registry my-org --versions --filter '{"alias": "production"}'
    """
    ask_and_write(shared, kind or "registries", path, output, **asked)
