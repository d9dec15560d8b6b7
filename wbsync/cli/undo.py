"""`wbsync undo`: take back what a push or an edit has done."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from wbsync.cli.edits import counted, open_queue
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.plain import plain


@click.command()
@click.argument("which", metavar="[PUSH|EDIT]", required=False)
@click.option("--why", default="", help="What for, for the audit trail.")
@click.option("--json", "as_json", is_flag=True, help="Print what was queued as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, which: str | None, why: str, as_json: bool) -> None:
    """Queue what takes back a push or an edit; without a name, the last push.

    The inverse operations wait in the queue, and are pushed and merged like any other: what someone
    has changed since becomes a conflict, and stays. Operations that were not pushed yet are
    dropped.

    \b
    Examples:
      wbsync undo && wbsync push
      wbsync undo e1a2b3c4d5           # ids: wbsync queue log --pushes, or --edits
    """
    from wbsync.writeback import who_am_i
    from wbsync.writeback.undo import undo

    with open_queue(shared) as queue:
        undone = undo(queue, which, who_am_i(), why=why)
    if as_json:
        click.echo(json.dumps(asdict(undone)))
        return
    if shared.say.quiet:
        return
    click.echo(
        f"{undone.undoes}: {counted(undone.queued, 'operation')} queued, {undone.dropped:,} dropped"
        + ("; `wbsync push` brings them to W&B" if undone.queued else "")
    )
    for words in undone.cannot:
        click.echo(plain(words))
