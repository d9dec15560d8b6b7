"""`wbsync tables`: what there is to ask."""

from __future__ import annotations

import dataclasses
import json

import click

from wbsync.cli.options import Globals, complete_tables
from wbsync.plain import plain


@click.command()
@click.argument("name", required=False, shell_complete=complete_tables)
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
@click.pass_obj
def command(shared: Globals, *, name: str | None, as_json: bool) -> None:
    """List the tables with their row counts, or the columns of one.

    \b
    Examples:
      wbsync tables
      wbsync tables runs
    """
    from wbsync.errors import QueryError
    from wbsync.query.formats import render_table
    from wbsync.sync.publication import open_published

    with open_published(shared.root()) as engine:
        found = engine.tables()
    if name is not None:
        found = [t for t in found if t.name == name]
        if not found:
            raise QueryError(f"there is no table {name}; `wbsync tables` lists them")
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(t) for t in found], indent=2))
    elif name is not None:
        click.echo(plain(found[0].comment))
        rows = [(c.name, c.type, c.comment) for c in found[0].columns]
        click.echo(render_table(["column", "type", "meaning"], rows))
    else:
        listed = [(t.name, t.rows, t.comment) for t in found]
        click.echo(render_table(["table", "rows", "one row is"], listed))
