"""`wbsync files`: the files of runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wbsync.cli.options import Globals, base_url_option

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """List and get the files of a run.

    \b
    Example:
      wbsync files get my-team/my-project/abc123 'media/*'
    """


@command.command()
@click.argument("run")
@click.argument("pattern", default="*")
@click.option("-o", "--output", type=FOLDER, help="Folder. Default: files/RUN_ID.")
@base_url_option
@click.option("-j", "--concurrency", type=click.IntRange(1, 64), default=8, show_default=True,
              help="Files in flight.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON object.")
@click.pass_obj
def get(
    shared: Globals,
    *,
    run: str,
    pattern: str,
    output: Path | None,
    base_url: str | None,
    concurrency: int,
    as_json: bool,
) -> int:
    """Bring files of a run to disk, each checked against its digest.

    RUN is ENTITY/PROJECT/RUN_ID. PATTERN takes *, ? and […]; * matches slashes, too.

    \b
    Examples:
      wbsync files get my-team/my-project/abc123
      wbsync files get my-team/my-project/abc123 'media/*' -o ./pictures
    """
    import asyncio

    from wbsync.api import Client
    from wbsync.cli.downloads import FilesWatcher, print_report
    from wbsync.download import Fetched, get_run_files
    from wbsync.lake import open_warehouse
    from wbsync.model import RunPath

    path = RunPath.parse(run)
    root = shared.root()
    open_warehouse(root)
    credentials = shared.credentials(base_url)

    async def fetch(watcher: FilesWatcher) -> tuple[Path, Fetched]:
        async with Client.open(credentials, concurrency=concurrency) as client:
            return await get_run_files(
                path, root, client, pattern=pattern, target=output, progress=watcher,
                concurrency=concurrency,
            )  # fmt: skip

    with FilesWatcher(shared.say) as watcher:
        folder, fetched = asyncio.run(fetch(watcher))
    return print_report(folder, fetched, shared.say, as_json=as_json)


@command.command("ls")
@click.argument("run")
@click.argument("pattern", default="*")
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def list_files(
    shared: Globals, *, run: str, pattern: str, base_url: str | None, as_json: bool
) -> None:
    """List the files of a run, as W&B has them now; the table run_files has them as synced.

    \b
    Example:
      wbsync files ls my-team/my-project/abc123 '*.json'
    """
    import asyncio
    from typing import Any

    from wbsync.api import Client
    from wbsync.download.run_files import list_run_files
    from wbsync.model import RunPath
    from wbsync.query.formats import render_table

    path = RunPath.parse(run)
    credentials = shared.credentials(base_url)

    async def ask() -> list[dict[str, Any]]:
        async with Client.open(credentials) as client:
            return await list_run_files(client, path, pattern)

    rows = [
        {"name": n["name"], "size_bytes": n.get("sizeBytes"), "updated_at": n.get("updatedAt")}
        for n in asyncio.run(ask())
    ]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        click.echo(render_table(
            ["name", "size_bytes", "updated_at"], [tuple(row.values()) for row in rows]
        ))  # fmt: skip
    shared.say.detail(f"{len(rows)} files")
