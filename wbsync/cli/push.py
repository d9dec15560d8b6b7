"""`wbsync push`: bring the edits of the queue to W&B."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from wbsync.cli.diagnostics import ExitCode
from wbsync.cli.edits import counted
from wbsync.cli.options import Globals, base_url_option
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.settings import Credentials
    from wbsync.writeback import Target
    from wbsync.writeback.push import PushReport

MAX_LINES = 20
SPEAK_EVERY_S = 5.0


@click.command()
@click.option(
    "--filter", "filter_text", metavar="JSON|@FILE|-",
    help="Only runs that pass this filter, in W&B's language, by the warehouse.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Read and merge, write nothing; say what would be.")
@click.option("--max", "limit", type=click.IntRange(1), help="Most runs and other things to push.")
@click.option(
    "--on-conflict", type=click.Choice(["fail", "mine", "theirs"]), default="fail",
    show_default=True,
    help="What someone else has changed since: let the edit wait, write over it, or drop the edit.",
)  # fmt: skip
@click.option(
    "--force", is_flag=True,
    help="Write config and summary of live runs, too, whose processes may undo it.",
)  # fmt: skip
@click.option("--max-requests", type=click.IntRange(1), help="Stop cleanly after so many requests.")
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_obj
def command(
    shared: Globals,
    *,
    filter_text: str | None,
    dry_run: bool,
    limit: int | None,
    on_conflict: str,
    force: bool,
    max_requests: int | None,
    base_url: str | None,
    as_json: bool,
) -> int:
    """Push the edits that wait: read what W&B holds, merge, write what differs, read it again.

    Only fields that were edited are written. What someone else has changed since is a conflict,
    which waits (see `wbsync queue`), and W&B is left as it is. The exit code is 5 while anything
    that is meant is not settled; with --dry-run, where a push would leave something so.

    \b
    Examples:
      wbsync push --dry-run
      wbsync push
      wbsync push --filter '{"state": "finished"}' --on-conflict theirs
    """
    root = shared.root()
    chosen = None if filter_text is None else _passing(root, filter_text)
    report = run_push(
        shared.say, root, shared.credentials(base_url), chosen=chosen, limit=limit,
        on_conflict=on_conflict, force=force, dry_run=dry_run, max_requests=max_requests,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    elif not shared.say.quiet:
        print_report(report)
    else:
        for told in report.told[:MAX_LINES]:
            if told.outcome in {"conflict", "failed"}:
                shared.say.error(f"{told.field} of {told.target}: {told.outcome}, {told.reason}")
    return ExitCode.OK if report.outcome == "complete" else ExitCode.PARTIAL


def run_push(
    say: Diagnostics,
    root: Path,
    credentials: Credentials,
    *,
    chosen: Callable[[Target], bool] | None = None,
    limit: int | None = None,
    on_conflict: str = "fail",
    force: bool = False,
    dry_run: bool = False,
    max_requests: int | None = None,
) -> PushReport:
    """Pushes, and says how it goes."""
    from wbsync.api import Budget
    from wbsync.cli.interrupt import run_until_told
    from wbsync.writeback.merge import Policy
    from wbsync.writeback.push import push

    spoke_at = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal spoke_at
        if time.monotonic() - spoke_at >= SPEAK_EVERY_S:
            spoke_at = time.monotonic()
            say.note(f"{done:,} of {total:,} pushed")

    return run_until_told(
        lambda: push(
            root, credentials, chosen=chosen, limit=limit, policy=Policy(on_conflict, force),
            dry_run=dry_run, progress=tell, budget=Budget(max_requests),
        )
    )  # fmt: skip


def _passing(root: Path, text: str) -> Callable[[Target], bool]:
    from wbsync.cli.translate import read_text
    from wbsync.sync.publication import open_published
    from wbsync.writeback.choosing import runs_passing

    with open_published(root) as engine:
        return runs_passing(engine, read_text(text))


def print_report(report: PushReport) -> None:
    """Prints a report for people."""
    counts: dict[str, Any] = {
        "applied": report.applied, "to send": report.to_send, "held already": report.held,
        "in conflict": report.conflicts, "failed": report.failed, "left": report.left,
        "dropped for theirs": report.dropped,
    }  # fmt: skip
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    click.echo(
        f"{counted(report.things, 'run or other thing', 'runs and other things')}:"
        f" {said or 'nothing to push'}; {counted(report.requests, 'request')},"
        f" {report.seconds:,.1f} s"
    )
    for told in report.told[:MAX_LINES]:
        reason = f": {plain(told.reason)}" if told.reason else ""
        click.echo(
            f"{told.outcome} {told.op_id}: {plain(told.field)} of {plain(told.target)}{reason}"
        )
    if len(report.told) > MAX_LINES:
        click.echo(f"… and {len(report.told) - MAX_LINES:,} more; see --json")
    if report.push_id is not None and report.applied:
        click.echo(f"push {report.push_id}; `wbsync undo {report.push_id}` takes it back")
    if report.unsettled:
        left = counted(report.unsettled, "operation is", "operations are")
        if report.push_id is None and report.things:
            left = f"{counted(report.unsettled, 'operation')} would be"
        click.echo(f"{left} not settled; see `wbsync queue list`")
