"""`wbsync status`: what the warehouse holds and how fresh it is."""

from __future__ import annotations

import contextlib
import json
import stat
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.plain import plain

if TYPE_CHECKING:
    from pathlib import Path

QUERY = """
SELECT p.entity || '/' || p.project AS project, count(r.run_id) AS runs,
       count(*) FILTER (WHERE r.state = 'running') AS running, p.entity, p.project
FROM projects p LEFT JOIN runs r ON r.entity = p.entity AND r.project = p.project
GROUP BY p.entity, p.project ORDER BY 1
"""

COLUMNS = ("project", "runs", "running", "last_sync")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, as_json: bool) -> None:
    """Show projects, runs, the last sync of each, and runs that were set aside.

    \b
    Example:
      wbsync status
    """
    from wbsync.query import Engine
    from wbsync.query.formats import render_table
    from wbsync.state import State
    from wbsync.sync.engine import last_ends
    from wbsync.sync.plan import still_aside

    root = shared.root()
    with Engine.open(root) as engine:
        held = engine.run_trusted(QUERY).fetchall()
    with State.reading(root / "state.sqlite") as state:
        aside, ends = state.runs_set_aside(), last_ends(state)
    # A sync that changed nothing publishes nothing: when it ended is in the state alone.
    rows = [
        (name, runs, running, _instant(ends.get((entity, project))))
        for name, runs, running, entity, project in held
    ]
    size = _size(root)
    runs = [still_aside(run) for run in aside]
    if as_json:
        projects = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        listed = [asdict(run) for run in runs]
        facts = {"warehouse": str(root), "bytes": size, "projects": projects, "set_aside": listed}
        click.echo(json.dumps(facts, default=str))
        return
    click.echo(f"{root}  ({size / 1e6:,.1f} MB)")
    click.echo(render_table(COLUMNS, rows))
    for run in runs:
        due = datetime.fromisoformat(run.next_try_at)
        when = "now" if due <= datetime.now(UTC) else f"{due:%Y-%m-%d %H:%M} UTC"
        click.echo(
            f"set aside {plain(run.what)}, {run.stream} ({run.attempts} tries, next {when}):"
            f" {plain(run.reason)}"
        )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=None) if text else None


def _size(root: Path) -> int:
    """Returns the bytes of a folder's files, each counted once under whatever names it has."""
    sizes = {}
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):  # a sync removes files meanwhile
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())
