"""`wbsync status`: what the warehouse holds and how fresh it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from wbsync.cli.diagnostics import plain
from wbsync.cli.options import Globals  # noqa: TC001

QUERY = """
SELECT p.entity || '/' || p.project AS project, count(r.run_id) AS runs,
       count(*) FILTER (WHERE r.state = 'running') AS running,
       (SELECT max(l.ended_at) FROM sync_log l
         WHERE l.entity = p.entity AND l.project = p.project
           AND l.outcome IN ('complete', 'partial')) AS last_sync
FROM projects p LEFT JOIN runs r ON r.entity = p.entity AND r.project = p.project
GROUP BY p.entity, p.project ORDER BY 1
"""


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
    from wbsync.sync.plan import still_aside

    root = shared.root()
    with Engine.open(root) as engine:
        result = engine.run_trusted(QUERY)
        columns, rows = result.columns, result.fetchall()
    state = State(root / "state.sqlite")
    try:
        aside = state.runs_set_aside()
    finally:
        state.close()
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
    runs = [still_aside(run) for run in aside]
    if as_json:
        projects = [dict(zip(columns, row, strict=True)) for row in rows]
        listed = [asdict(run) for run in runs]
        facts = {"warehouse": str(root), "bytes": size, "projects": projects, "set_aside": listed}
        click.echo(json.dumps(facts, default=str))
        return
    click.echo(f"{root}  ({size / 1e6:,.1f} MB)")
    click.echo(render_table(columns, rows))
    for run in runs:
        due = datetime.fromisoformat(run.next_try_at)
        when = "now" if due <= datetime.now(UTC) else f"{due:%Y-%m-%d %H:%M} UTC"
        click.echo(
            f"set aside {plain(run.what)}, {run.stream} ({run.attempts} tries, next {when}):"
            f" {plain(run.reason)}"
        )
