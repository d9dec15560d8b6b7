"""`wbsync changes`: what changed in runs from one sync to the next."""

from __future__ import annotations

import click

from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.cli.output import OutputOptions, output_options


@click.command()
@click.argument("projects", nargs=-1, metavar="[ENTITY/PROJECT]…")
@click.option("--since", metavar="TIME", help="From when on: 2026-05-01, 2h, 3d. Default: all.")
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only this run; may be repeated.")
@click.option(
    "--field", "fields", multiple=True, metavar="FIELD",
    help="Only this field and what is below it, such as tags or config.optimizer.",
)  # fmt: skip
@output_options
@click.pass_obj
def command(
    shared: Globals,
    *,
    projects: tuple[str, ...],
    since: str | None,
    runs: tuple[str, ...],
    fields: tuple[str, ...],
    output: OutputOptions,
) -> None:
    """List the changes of runs' metadata that syncs saw: state, names, tags, notes, config.

    Values are JSON. What a live run keeps moving (heartbeats, counters, its summary) is left out,
    and new runs are no changes: `runs.created_at` tells of them.

    \b
    Examples:
      wbsync changes --since 2d
      wbsync changes my-team/my-project --field tags --field config --format csv
    """
    from datetime import UTC, datetime

    from wbsync.times import parse_instant
    from wbsync.warehouse import Warehouse

    start = None if since is None else parse_instant(since, datetime.now(UTC))
    with Warehouse(shared.root()) as warehouse:
        found = warehouse.changes(*projects, since=start, runs=runs, fields=fields)
        output.write(found, shared.say)
