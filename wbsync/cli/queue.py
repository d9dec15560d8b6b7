"""`wbsync queue`: the edits that wait, what became of others, and how conflicts are settled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from wbsync.cli.edits import (
    ask,
    change_text,
    choosing_options,
    counted,
    is_empty,
    open_queue,
    value_text,
)
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.writeback import Entry, Queue

ALL_STATES = ("pending", "sending", "applied", "conflict", "failed", "dropped")
LEFT = ("pending", "sending", "conflict", "failed")


@click.group()
def command() -> None:
    """Look at the queue of edits, and settle what waits in it.

    An edit waits here until `wbsync push` brings it to W&B. What someone else has changed meanwhile
    becomes a conflict, which waits until it is resolved.

    \b
    Examples:
      wbsync queue list
      wbsync queue diff --project my-team/my-project
      wbsync queue resolve 17 --theirs
    """


@command.command("list")
@choosing_options
@click.option("--state", "states", multiple=True, type=click.Choice(ALL_STATES),
              help="In this state; repeatable. Default: what is not settled.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="In any state.")
@click.option("--limit", type=click.IntRange(1), help="Most operations.")
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON array.")
@click.pass_obj
def list_(
    shared: Globals,
    *,
    chosen: dict[str, Any],
    states: tuple[str, ...],
    every: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List operations, the oldest first.

    \b
    Examples:
      wbsync queue list
      wbsync queue list --state conflict --json
      wbsync queue list --all --edit e1a2b3c4d5
    """
    from wbsync.query.formats import render_table

    wanted = states or (() if every or not is_empty(chosen) else LEFT)
    with open_queue(shared) as queue:
        entries = queue.entries(wanted, limit=limit, **chosen)
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in entries]))
        return
    if not entries:
        shared.say.note("no such edits; `wbsync queue list --all` shows those that are settled")
        return
    columns = ["op", "state", "of", "field", "change", "edit", "who", "why it waits"]
    rows = [
        [
            e.op_id, e.state, plain(str(e.target)), plain(e.operation.label), change_text(e),
            e.edit.edit_id, plain(e.edit.who), plain(e.error or ""),
        ]
        for e in entries
    ]  # fmt: skip
    click.echo(render_table(columns, rows))


@command.command()
@click.argument("op_id", type=click.IntRange(1), metavar="OP")
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def show(shared: Globals, *, op_id: int, as_json: bool) -> None:
    """Show all that is known of an operation, and what happened to it.

    \b
    Example:
      wbsync queue show 17
    """
    with open_queue(shared) as queue:
        entry = _one(queue, op_id)
        lines = queue.log(op_ids=[op_id])
    if as_json:
        click.echo(json.dumps(entry.to_json() | {"log": lines}))
        return
    facts = {
        "operation": f"{entry.op_id} of edit {entry.edit.edit_id}",
        "of": f"{entry.target.kind} {entry.target}",
        "change": f"{entry.operation.label}: {change_text(entry, is_short=False)}",
        "state": entry.state,
        "based on": value_text(entry.operation.base, is_short=False),
        "mine": value_text(entry.mine, is_short=False),
    }
    if entry.state == "conflict":
        facts["theirs"] = value_text(entry.theirs, is_short=False)
    if entry.state in {"sending", "applied"}:
        facts["before"] = value_text(entry.before, is_short=False)
        facts["after"] = value_text(entry.after, is_short=False)
    facts |= {
        "who": f"{entry.edit.who}, {entry.edit.made_at:%Y-%m-%d %H:%M} UTC, {entry.edit.origin}",
        "why": entry.edit.why,
        "command": entry.edit.command,
        "said": entry.error or "",
    }
    for name, text in facts.items():
        if text:
            click.echo(f"{name:>10}  {plain(text)}")
    for line in lines:
        click.echo(_log_line(line))


@command.command()
@choosing_options
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON array.")
@click.pass_obj
def diff(shared: Globals, *, chosen: dict[str, Any], as_json: bool) -> None:
    """Show what is not settled as a difference: what it was based on, mine, and theirs.

    \b
    Example:
      wbsync queue diff --project my-team/my-project
    """
    with open_queue(shared) as queue:
        entries = queue.entries(LEFT, **chosen)
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in entries]))
        return
    previous = None
    for entry in sorted(entries, key=lambda e: (e.target.key, e.op_id)):
        if entry.target.key != previous:
            click.echo(f"{entry.target.kind} {plain(str(entry.target))}")
            previous = entry.target.key
        click.echo(f"  {plain(entry.operation.label)}  ({entry.op_id}, {entry.state})")
        operation = entry.operation
        if operation.action in {"add", "remove", "append"}:
            click.echo(f"    {change_text(entry, is_short=False)}")
        else:
            click.echo(f"    - {value_text(operation.base, is_short=False)}")
            click.echo(f"    + {value_text(entry.mine, is_short=False)}")
        if entry.state == "conflict":
            click.echo(f"    theirs: {value_text(entry.theirs, is_short=False)}")
        if entry.error:
            click.echo(f"    {plain(entry.error)}")


@command.command()
@choosing_options
@click.option("--all", "every", is_flag=True, help="All that are not settled.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the number as JSON.")
@click.pass_obj
def drop(shared: Globals, *, chosen: dict[str, Any], every: bool, yes: bool, as_json: bool) -> None:
    """Take operations out of the queue; they stay in the log.

    \b
    Examples:
      wbsync queue drop 17 18
      wbsync queue drop --edit e1a2b3c4d5 --yes
    """
    states = ("pending", "conflict", "failed")
    _settle(
        shared, chosen, states, every=every, yes=yes, as_json=as_json, verb="drop",
        act=lambda queue, ids: queue.drop(ids),
    )  # fmt: skip


@command.command()
@choosing_options
@click.option("--all", "every", is_flag=True, help="All that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print the number as JSON.")
@click.pass_obj
def retry(shared: Globals, *, chosen: dict[str, Any], every: bool, as_json: bool) -> None:
    """Have operations that failed pushed again.

    \b
    Example:
      wbsync queue retry --all
    """
    _settle(
        shared, chosen, ("failed",), every=every, yes=True, as_json=as_json, verb="retry",
        act=lambda queue, ids: queue.retry(ids),
    )  # fmt: skip


@command.command()
@choosing_options
@click.option("--mine", "side", flag_value="mine", help="Push the edit over what W&B holds.")
@click.option("--theirs", "side", flag_value="theirs", help="Leave what W&B holds; drop the edit.")
@click.option("--all", "every", is_flag=True, help="All conflicts.")
@click.option("--json", "as_json", is_flag=True, help="Print the number as JSON.")
@click.pass_obj
def resolve(
    shared: Globals, *, chosen: dict[str, Any], side: str | None, every: bool, as_json: bool
) -> None:
    """Settle conflicts for one side; `mine` is pushed by the next push.

    It is pushed over the value that the conflict shows, and no other: should W&B hold yet another
    one by then, it is a conflict again.

    \b
    Examples:
      wbsync queue resolve 17 --mine
      wbsync queue resolve --all --theirs
    """
    if side is None:
        raise click.UsageError("say --mine or --theirs")
    _settle(
        shared, chosen, ("conflict",), every=every, yes=True, as_json=as_json, verb="resolve",
        act=lambda queue, ids: queue.resolve(ids, side),
    )  # fmt: skip


@command.command()
@click.argument("op_ids", nargs=-1, type=click.IntRange(1), metavar="[OP]…")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most lines.")
@click.option("--pushes", is_flag=True, help="One line a push.")
@click.option("--edits", is_flag=True, help="One line an edit.")
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON array.")
@click.pass_obj
def log(
    shared: Globals,
    *,
    op_ids: tuple[int, ...],
    limit: int,
    pushes: bool,
    edits: bool,
    as_json: bool,
) -> None:
    """Show the audit trail: who changed what, when, and what became of it.

    \b
    Examples:
      wbsync queue log
      wbsync queue log --pushes        # ids for `wbsync undo`
      wbsync queue log 17 --json
    """
    with open_queue(shared) as queue:
        lines: list[dict[str, Any]]
        if pushes:
            lines = queue.pushes(limit=limit)
        elif edits:
            lines = [
                {
                    "edit_id": edit.edit_id, "made_at": edit.made_at.isoformat(), "who": edit.who,
                    "why": edit.why, "origin": edit.origin, "command": edit.command,
                    "undoes": edit.undoes, "operations": counts,
                }
                for edit, counts in queue.edits(limit=limit)
            ]  # fmt: skip
        else:
            lines = queue.log(op_ids=op_ids, limit=limit)
    if as_json:
        click.echo(json.dumps(lines))
        return
    for line in lines:
        if pushes:
            text = (
                f"{line['started_at'][:19]}  {line['push_id']}  {line['outcome']},"
                f" {line['applied']:,} applied, {counted(line['requests'], 'request')}"
            )
        elif edits:
            found = ", ".join(f"{n:,} {state}" for state, n in line["operations"].items())
            said = f"  ({line['why']})" if line["why"] else ""
            text = f"{line['made_at'][:19]}  {line['edit_id']}  {line['who']}: {found}{said}"
        else:
            text = _log_line(line)
        click.echo(plain(text, indent=True))


def _log_line(line: dict[str, Any]) -> str:
    label = ".".join((line["field"], *line["path"]))
    states = f"{line['from_state']} → {line['to_state']}" if line["from_state"] else "queued"
    said = f": {line['error']}" if line["error"] else ""
    target = f"{line['entity']}/{line['project']}/{line['name']}"
    return plain(
        f"{line['at'][:19]}  {line['op_id']}  {states}  {line['action']} {label} of {target}"
        f"  ({line['who']}){said}",
        indent=True,
    )


def _one(queue: Queue, op_id: int) -> Entry:
    from wbsync.errors import EditError

    found = queue.entries(op_ids=[op_id])
    if not found:
        raise EditError(f"the queue holds no operation {op_id}; see `wbsync queue list`")
    return found[0]


def _settle(
    shared: Globals,
    chosen: dict[str, Any],
    states: tuple[str, ...],
    *,
    every: bool,
    yes: bool,
    as_json: bool,
    verb: str,
    act: Callable[[Queue, list[int]], int],
) -> None:
    """Does something to operations, which must be named or all be meant."""
    from wbsync.writeback.overlay import show

    if is_empty(chosen) and not every:
        raise click.UsageError(f"say which to {verb}: OP numbers, --edit, --project, … or --all")
    with open_queue(shared) as queue:
        # What is named one by one must be fit for it; of a selection, that is taken which is.
        named = [_one(queue, op_id).op_id for op_id in chosen["op_ids"]]
        ids = named or [e.op_id for e in queue.entries(states, **chosen)]
        if ids and not yes:
            ask(f"{verb} {counted(len(ids), 'operation')}?", "--yes does it")
        count = act(queue, ids)
    if count:
        show(queue.path.parent)
    if as_json:
        click.echo(json.dumps({"operations": count}))
    elif not shared.say.quiet:
        click.echo(f"{verb}: {counted(count, 'operation')}")
