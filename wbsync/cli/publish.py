"""`wbsync publish`: bring the published file up to date with the lake."""

from __future__ import annotations

import json

import click

from wbsync.cli.options import Globals  # noqa: TC001


@click.command()
@click.option(
    "--rebuild", is_flag=True,
    help="Make the file anew from the lake, instead of patching the last one.",
)  # fmt: skip
@click.option(
    "--storage-version", metavar="VERSION",
    help="DuckDB's format of the file; v1.0.0 opens in DuckDB 1.1 and later. Default: as it is, at"
    " first v1.0.0.",
)  # fmt: skip
@click.option(
    "--materialize/--no-materialize", default=None,
    help="Put the rows of history and the like into the file, so that it can be carried elsewhere"
    " alone; or leave them in the lake, as views. Default: as it is, at first in the lake.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def command(
    shared: Globals,
    *,
    rebuild: bool,
    storage_version: str | None,
    materialize: bool | None,
    as_json: bool,
) -> None:
    """Bring warehouse.duckdb up to date with the lake, without asking W&B.

    A sync does it by itself. It is needed after the folder was moved or copied, and to choose
    another form, which later syncs keep unless [publish] of wbsync.toml says otherwise.

    \b
    Examples:
      wbsync publish
      wbsync publish --materialize       # one file that holds everything
      wbsync publish --rebuild
    """
    from wbsync.cli.progress import Watcher
    from wbsync.model import PublishOptions
    from wbsync.sync.publication import publish_warehouse

    root = shared.root()
    shared.say.detail(f"publishing {root}")
    configuration = shared.configuration()
    if storage_version is None:
        storage_version = configuration["publish.storage_version"]
    if materialize is None:
        materialize = configuration["publish.materialize"]
    options = PublishOptions(storage_version, materialize)
    with Watcher(shared.say) as watcher:
        done = publish_warehouse(root, watcher, options, rebuild=rebuild)
    if as_json:
        facts = {"path": str(done.path), "how": done.how, "changed": done.changed,
                 "bytes": done.path.stat().st_size, "seconds": round(done.seconds, 3)}  # fmt: skip
        click.echo(json.dumps(facts))
    elif not shared.say.quiet:
        size = done.path.stat().st_size / 1e6
        click.echo(f"{done.path}: {done.how}, {size:,.1f} MB, {done.seconds:.1f} s")
