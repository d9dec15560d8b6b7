"""`wbsync compact`: many small files become few."""

from __future__ import annotations

import json

import click

from wbsync.cli.options import Globals  # noqa: TC001


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, tables: tuple[str, ...], as_json: bool) -> None:
    """Put the small Parquet files of the lake together; a sync does so when many have gathered.

    No row changes. The old files stay, for readers and for --as-of, until `wbsync vacuum`.

    \b
    Examples:
      wbsync compact
      wbsync compact history
    """
    from wbsync.cli.progress import Watcher
    from wbsync.errors import ConfigError
    from wbsync.query.formats import render_table
    from wbsync.sync.care import compact_warehouse
    from wbsync.tables import table_names

    if unknown := set(tables) - set(table_names()):
        raise ConfigError(f"there is no table {min(unknown)}; `wbsync tables` lists them")
    with Watcher(shared.say) as watcher:
        done = compact_warehouse(shared.root(), watcher, tables)
    if as_json:
        click.echo(json.dumps({"tables": [report.to_dict() for report in done]}))
    elif not done:
        click.echo("nothing to compact")
    else:
        rows = [(c.table, c.files_before, c.files_after, c.bytes_before, c.bytes_after)
                for c in done]  # fmt: skip
        heads = ["table", "files before", "after", "bytes before", "after"]
        click.echo(render_table(heads, rows))
