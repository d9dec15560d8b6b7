"""`wbsync sync`: bring the warehouse in step with W&B."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from wbsync.cli.diagnostics import ExitCode, plain
from wbsync.cli.options import Globals, complete_tables

if TYPE_CHECKING:
    from wbsync.progress import SyncReport


@click.command()
@click.argument("sources", nargs=-1, metavar="[ENTITY/PROJECT | ENTITY]…")
@click.option("--base-url", envvar="WANDB_BASE_URL", show_envvar=True, help="W&B server.")
@click.option(
    "-j", "--concurrency", type=click.IntRange(1, 32), default=4, show_default=True,
    help="Requests and downloads in flight.",
)  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="TABLE,…", shell_complete=complete_tables,
    help="Sync these tables alone.",
)  # fmt: skip
@click.option(
    "--skip", multiple=True, metavar="TABLE,…", shell_complete=complete_tables,
    help="Leave these tables as they are, e.g. history for metadata alone.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_obj
def command(
    shared: Globals,
    *,
    sources: tuple[str, ...],
    base_url: str | None,
    concurrency: int,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    as_json: bool,
) -> int:
    """Pull what is new from W&B: runs, full history, sweeps, artifacts and lineage.

    Without a source, those of wbsync.toml are synced. The API key is looked up as the wandb SDK
    does: WANDB_API_KEY, netrc, settings file.

    \b
    Examples:
      wbsync sync my-team/my-project
      wbsync sync my-team            # all its projects
      wbsync sync my-team --skip history,system_metrics
      wbsync -w ./warehouse sync my-team/my-project --json
    """
    import asyncio
    import os

    # Arrow's own allocator keeps what it was given; the system's hands it back: a fifth less.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from wbsync.cli.progress import Watcher
    from wbsync.errors import ConfigError
    from wbsync.settings import resolve_credentials
    from wbsync.sync.engine import sync
    from wbsync.sync.streams import choose_tables

    options = choose_tables(only, skip)
    configuration = shared.configuration()
    sources = sources or tuple(entry.path for entry in configuration["sources"])
    base_url = base_url or configuration["base_url"]
    if not sources:
        raise ConfigError(
            "nothing to sync: name ENTITY/PROJECT or ENTITY, or list sources in wbsync.toml"
        )
    root = shared.root()
    credentials = resolve_credentials(base_url=base_url)
    shared.say.detail(f"key from {credentials.source}; server {credentials.base_url}")
    with Watcher(shared.say) as watcher:
        report = asyncio.run(
            sync(
                root, sources, credentials, progress=watcher, concurrency=concurrency,
                options=options,
            )
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        _print_report(report, root.name and str(root))
    return ExitCode.PARTIAL if report.skipped else ExitCode.OK


def _print_report(report: SyncReport, root: str) -> None:
    click.echo(
        f"{report.runs:,} runs ({report.runs_changed:,} changed), {report.history_rows:,} history"
        f" values, {report.requests:,} requests, {report.bytes_in / 1e6:,.1f} MB,"
        f" {report.seconds:.1f} s"
    )
    written = ", ".join(f"{t} {n:,}" for t, n in sorted(report.rows.items()) if n)
    click.echo(f"rows written: {written or 'none, nothing has changed'}")
    for skipped in report.skipped[:20]:
        click.echo(f"skipped {plain(skipped.what)}: {plain(skipped.reason)}")
    if len(report.skipped) > 20:
        click.echo(f"… and {len(report.skipped) - 20} more; see --json")
    click.echo(f"warehouse: {root}")
