"""`wbsync runs`: ask for runs as one asks W&B."""

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
    """List runs that pass a filter in W&B's language, offline, over all that is held.

    \b
    Examples:
      wbsync runs my-team/my-project --filter '{"state": "finished"}' --order -summary_metrics.acc
      wbsync runs my-team --filter 'Tags == "prod"' --columns run_id,config.lr,summary.loss
      wbsync runs my-team/my-project --filter @filter.json -o runs.parquet
    """
    ask_and_write(shared, "runs", path, output, **asked)
