"""`wbsync undo`: take back what a push or an edit has done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from wbsync.cli.edit import print_changes
from wbsync.cli.edits import ask, counted, open_queue
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.plain import plain

if TYPE_CHECKING:
    from wbsync.writeback.undo import Undoing


@click.command()
@click.argument("which", metavar="[PUSH|EDIT]", required=False)
@click.option("--reason", "--why", "reason", default="", metavar="TEXT",
              help="Why, for the audit trail.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be taken back; queue nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_obj
def command(
    shared: Globals, *, which: str | None, reason: str, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Queue what takes back a push or an edit; without a name, the last push.

    It shows what would be taken back, and asks. The inverse operations wait in the queue, and are
    pushed and merged like any other: what someone has changed since becomes a conflict, and stays.
    Operations that were not pushed yet are dropped.

    \b
    Examples:
      wbsync undo --yes && wbsync push
      wbsync undo e1a2b3c4d5           # ids: wbsync queue log --pushes, or --edits
    """
    from wbsync.writeback import who_am_i
    from wbsync.writeback.undo import Undone, plan_undo, undo

    with open_queue(shared) as queue:
        plan = plan_undo(queue, which)
        if not as_json and not shared.say.quiet:
            _print(plan)
        has_work = bool(plan.inverses or plan.waiting)
        if has_work and not (yes or dry_run):
            ask(
                f"Take back {plan.undoes}?",
                "--yes takes it back, --dry-run only shows what that does",
            )
        done = Undone(plan) if dry_run else undo(queue, plan.undoes, who_am_i(), why=reason)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
    elif dry_run:
        click.echo("a dry run: nothing is queued")
    elif not shared.say.quiet:
        click.echo(
            f"{done.undoes}: {counted(done.queued, 'operation')} queued, {done.dropped:,} dropped"
            + ("; `wbsync push` brings them to W&B" if done.queued else "")
        )


def _print(plan: Undoing) -> None:
    """Prints what an undo would do, for people."""
    click.echo(
        f"to take back {plan.undoes}: {counted(len(plan.inverses), 'operation')} on"
        f" {counted(plan.changed, 'thing')}; {counted(len(plan.waiting), 'waits', 'wait')} and"
        f" {'is' if len(plan.waiting) == 1 else 'are'} dropped"
    )
    print_changes(plan)
    for words in plan.cannot:
        click.echo(plain(words))
