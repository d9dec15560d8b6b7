"""`wbsync changes`: what changed in runs from one sync to the next."""

from __future__ import annotations

from pathlib import Path

import click

from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.cli.sql import FORMATS, output_kind, write_rows

QUERY = """
SELECT c.synced_at AS seen_at, c.entity || '/' || c.project AS project, c.run_id,
       r.display_name, c.field, c.old, c.new
FROM run_changes c
LEFT JOIN runs_all r ON r.entity = c.entity AND r.project = c.project AND r.run_id = c.run_id
WHERE ($since IS NULL OR c.synced_at >= $since)
  AND (len($projects) = 0 OR list_contains($projects, c.entity || '/' || c.project))
  AND (len($runs) = 0 OR list_contains($runs, c.run_id))
  AND (len($fields) = 0 OR len(list_filter($fields, lambda f:
       c.field = f OR starts_with(c.field, f || '.'))) > 0)
ORDER BY c.synced_at, c.entity, c.project, c.run_id, c.field
"""


@click.command()
@click.argument("projects", nargs=-1, metavar="[ENTITY/PROJECT]…")
@click.option("--since", metavar="TIME", help="From when on: 2026-05-01, 2h, 3d. Default: all.")
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only this run; may be repeated.")
@click.option(
    "--field", "fields", multiple=True, metavar="FIELD",
    help="Only this field and what is below it, such as tags or config.optimizer.",
)  # fmt: skip
@click.option("--format", "kind", type=click.Choice(FORMATS),
              help="Default: table, or what the ending of -o says.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Write to a file, which appears when it is complete.")  # fmt: skip
@click.pass_obj
def command(
    shared: Globals,
    *,
    projects: tuple[str, ...],
    since: str | None,
    runs: tuple[str, ...],
    fields: tuple[str, ...],
    kind: str | None,
    output: Path | None,
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

    from wbsync.errors import MigrationError
    from wbsync.model import ProjectPath
    from wbsync.query import Engine
    from wbsync.times import parse_instant

    named = [str(ProjectPath.parse(project)) for project in projects]
    start = None if since is None else parse_instant(since, datetime.now(UTC)).replace(tzinfo=None)
    with Engine.open(shared.root()) as engine:
        if not any(t == ("run_changes",) for t in engine.run_trusted(
            "SELECT table_name FROM duckdb_tables() WHERE table_name = 'run_changes'"
        ).fetchall()):  # fmt: skip
            raise MigrationError("an older wbsync wrote this warehouse: run `wbsync sync` once")
        values = {"since": start, "projects": named, "runs": [*runs], "fields": [*fields]}
        write_rows(shared, engine.run_trusted(QUERY, values), output_kind(kind, output), output)
