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
WITH p AS (SELECT entity, project FROM projects UNION SELECT entity, project FROM runs)
SELECT p.entity || '/' || p.project AS project, count(r.run_id) AS runs,
       count(*) FILTER (WHERE r.state = 'running') AS running,
       count(*) FILTER (WHERE r.history_line_count > 0 AND l.claimed_rows IS NULL) AS lacking,
       p.entity, p.project
FROM p
LEFT JOIN runs r ON r.entity = p.entity AND r.project = p.project
LEFT JOIN ledger l ON l.entity = r.entity AND l.project = r.project AND l.run_id = r.run_id
                  AND l.table_name = 'history'
GROUP BY p.entity, p.project ORDER BY 1
"""
"""A first sync that was killed has left no row of the project, but runs."""

COLUMNS = ("project", "runs", "running", "last_sync")
HOW = {
    "stopped": "was stopped", "interrupted": "was interrupted", "failed": "failed",
    None: "has not ended",
}  # fmt: skip
FACTS = (*COLUMNS, "last_outcome", "runs_without_history")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, as_json: bool) -> None:
    """Show projects, runs, the last sync of each, and runs that were set aside.

    A project whose last sync was stopped, interrupted or killed is said to be incomplete.

    \b
    Example:
      wbsync status
    """
    from wbsync.query.formats import render_table
    from wbsync.state import State
    from wbsync.sync.engine import last_ends
    from wbsync.sync.plan import still_aside
    from wbsync.sync.publication import open_published
    from wbsync.sync.vouching import ENDED, last_outcomes

    root = shared.root()
    with open_published(root) as engine:
        held = engine.run_trusted(QUERY).fetchall()
    with State.reading(root / "state.sqlite") as state:
        aside, ends, outcomes = state.runs_set_aside(), last_ends(state), last_outcomes(state)
    # A sync that changed nothing publishes nothing: when it ended is in the state alone.
    rows = [
        (
            name,
            runs,
            running,
            _instant(ends.get((entity, project))),
            outcomes.get((entity, project)),
            lacking,
        )
        for name, runs, running, lacking, entity, project in held
    ]
    size = _size(root)
    runs = [still_aside(run) for run in aside]
    if as_json:
        projects = [dict(zip(FACTS, row, strict=True)) for row in rows]
        listed = [asdict(run) for run in runs]
        facts = {"warehouse": str(root), "bytes": size, "projects": projects, "set_aside": listed}
        click.echo(json.dumps(facts, default=str))
        return
    click.echo(f"{root}  ({size / 1e6:,.1f} MB)")
    click.echo(render_table(COLUMNS, [row[: len(COLUMNS)] for row in rows]))
    for name, *_, outcome, lacking in rows:
        if outcome not in ENDED:
            history = f"; {lacking:,} runs are without their whole history" if lacking else ""
            ended = HOW[outcome]
            click.echo(f"incomplete {plain(name)}: its last sync {ended}{history}; sync again")
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
