"""`wbsync vacuum`: delete files that nothing needs any more."""

from __future__ import annotations

import json

import click

from wbsync.cli.options import Globals  # noqa: TC001


@click.command()
@click.option(
    "--keep", default="7d", show_default=True, metavar="TIME",
    help="How far back `sql --as-of` and readers with an open file are served: 12h, 7d, 2w.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, keep: str, dry_run: bool, as_json: bool) -> None:
    """Delete Parquet files that no table and no published file has needed for a while.

    These are files that were compacted or replaced, and those of syncs that were killed. A sync
    does it once a day. A connection that was opened before what is kept gets an error where it
    reads history, until it is opened again.

    \b
    Examples:
      wbsync vacuum --dry-run
      wbsync vacuum --keep 1d
    """
    from wbsync.cli.progress import Watcher
    from wbsync.errors import ConfigError
    from wbsync.sync.care import KEEP, vacuum_warehouse
    from wbsync.times import parse_duration

    if keep.strip().isdecimal() and int(keep):
        raise ConfigError(f"--keep {keep} has no unit: write {keep}d for days")
    kept = parse_duration(keep)
    with Watcher(shared.say) as watcher:
        done = vacuum_warehouse(shared.root(), kept, watcher, dry_run=dry_run)
    facts = done.to_dict()
    if kept < KEEP and facts["files"] and not dry_run:
        shared.say.note(
            f"`sql --as-of` reaches back {keep}; who has had the published file open since before"
            " that must open it again"
        )
    if as_json:
        click.echo(json.dumps(facts))
        return
    for garbage in done.garbage:
        if garbage.files:
            click.echo(f"{garbage.table}: {len(garbage.files):,} files, {garbage.bytes:,} bytes")
    click.echo(
        f"{'would delete' if dry_run else 'deleted'} {facts['files']:,} of"
        f" {facts['files_before']:,} files, {facts['bytes'] / 1e6:,.1f} MB of"
        f" {facts['bytes_before'] / 1e6:,.1f} MB"
    )
