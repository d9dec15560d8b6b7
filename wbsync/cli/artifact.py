"""`wbsync artifact`: versions, their files, and what made what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wbsync.cli.options import Globals, base_url_option
from wbsync.plain import plain

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Get artifacts' files, and look at versions and lineage in the warehouse.

    \b
    Examples:
      wbsync artifact get my-team/my-project/data:latest -o ./data
      wbsync artifact lineage my-team/my-project/model:v3
    """


@command.command()
@click.argument("name")
@click.option("-o", "--output", type=FOLDER, help="Folder. Default: artifacts/NAME:vN.")
@click.option("--prefix", default="", help="Only files whose path begins so.")
@click.option("--no-references", is_flag=True, help="List references, and fetch none.")
@click.option("--offline", is_flag=True, help="Ask nobody: from the warehouse and its cache.")
@base_url_option
@click.option("-j", "--concurrency", type=click.IntRange(1, 64), default=8, show_default=True,
              help="Files in flight.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON object.")
@click.pass_obj
def get(
    shared: Globals,
    *,
    name: str,
    output: Path | None,
    prefix: str,
    no_references: bool,
    offline: bool,
    base_url: str | None,
    concurrency: int,
    as_json: bool,
) -> int:
    """Bring the files of a version to disk, each checked against its digest.

    NAME is [[ENTITY/]PROJECT/]NAME[:ALIAS or :vN]; of a registry,
    [ORGANISATION/]wandb-registry-R/NAME:ALIAS. What was cut off is gone on with by the same
    command; what is in the warehouse's cache is not downloaded again.

    \b
    Examples:
      wbsync artifact get my-team/my-project/data:latest
      wbsync artifact get wandb-registry-model/net:production -o ./net
    """
    import asyncio

    from wbsync.api import Client
    from wbsync.cli.downloads import FilesWatcher, print_report
    from wbsync.download import ArtifactName, Fetched, get_artifact
    from wbsync.lake import open_warehouse

    artifact = ArtifactName.parse(name)
    root = shared.root()
    open_warehouse(root)
    options: dict[str, Any] = {
        "target": output, "prefix": prefix, "with_references": not no_references,
        "concurrency": concurrency,
    }  # fmt: skip

    async def run(watcher: FilesWatcher) -> tuple[Path, Fetched]:
        if offline:
            return await get_artifact(artifact, root, None, progress=watcher, **options)
        credentials = shared.credentials(base_url)
        async with Client.open(credentials, concurrency=concurrency) as client:
            return await get_artifact(artifact, root, client, progress=watcher, **options)

    with FilesWatcher(shared.say) as watcher:
        folder, fetched = asyncio.run(run(watcher))
    return print_report(folder, fetched, shared.say, as_json=as_json)


@command.command("ls")
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def list_versions(shared: Globals, *, path: str | None, as_json: bool) -> None:
    """List collections, or the versions of one, from the warehouse.

    PATH is ENTITY/PROJECT, ENTITY/PROJECT/COLLECTION, or nothing for all collections.

    \b
    Examples:
      wbsync artifact ls
      wbsync artifact ls my-team/my-project/data
    """
    from wbsync.errors import ConfigError
    from wbsync.query.formats import render_table
    from wbsync.query.lineage import COLLECTIONS, VERSIONS
    from wbsync.sync.publication import open_published

    parts = (path or "").split("/") if path else []
    if len(parts) == 1 or len(parts) > 3 or not all(parts):
        raise ConfigError(f"{path!r} is neither ENTITY/PROJECT nor ENTITY/PROJECT/COLLECTION")
    entity, project, collection = (*parts, None, None, None)[:3]
    with open_published(shared.root()) as engine:
        if collection is None:
            result = engine.run_trusted(COLLECTIONS, {"entity": entity, "project": project})
        else:
            where = {"entity": entity, "project": project, "collection": collection}
            result = engine.run_trusted(VERSIONS, where)
        columns, rows = result.columns, result.fetchall()
    if path and not rows:
        raise ConfigError(
            f"nothing is held of {path!r}: `wbsync artifact ls` lists what is, `wbsync registry`"
            " what registries hold"
        )
    if as_json:
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        click.echo(json.dumps(found, default=str))
    else:
        click.echo(render_table(columns, rows))


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def show(shared: Globals, *, name: str, as_json: bool) -> None:
    """Show all that the warehouse holds of a version.

    \b
    Example:
      wbsync artifact show my-team/my-project/data:v2
    """
    from wbsync.download import ArtifactName
    from wbsync.query.formats import render_table
    from wbsync.query.lineage import VERSION
    from wbsync.sync.publication import open_published

    artifact_id = _held(shared, ArtifactName.parse(name))
    with open_published(shared.root()) as engine:
        result = engine.run_trusted(VERSION, {"artifact_id": artifact_id})
        facts = dict(zip(result.columns, result.fetchall()[0], strict=True))
    if as_json:
        click.echo(json.dumps(facts, default=str))
    else:
        click.echo(render_table(["field", "value"], list(facts.items())))


@command.command()
@click.argument("name")
@click.option("--up", "direction", flag_value="up", help="Only what it was made from.")
@click.option("--down", "direction", flag_value="down", help="Only what was made from it.")
@click.option("--depth", type=click.IntRange(1), default=10, show_default=True,
              help="Runs and versions to go through.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print as nested JSON.")
@click.pass_obj
def lineage(
    shared: Globals, *, name: str, direction: str | None, depth: int, as_json: bool
) -> None:
    """Show what made a version, and what was made from it, as a tree; from the warehouse.

    \b
    Examples:
      wbsync artifact lineage my-team/my-project/model:v3
      wbsync artifact lineage my-team/my-project/data:v0 --down
    """
    from wbsync.download import ArtifactName
    from wbsync.query.lineage import build_tree, render_tree
    from wbsync.sync.publication import open_published

    artifact_id = _held(shared, ArtifactName.parse(name))
    directions = [direction] if direction else ["up", "down"]
    with open_published(shared.root()) as engine:
        trees = {d: build_tree(engine, artifact_id, d, depth) for d in directions}
    if as_json:
        click.echo(json.dumps({d: tree.to_dict() for d, tree in trees.items()}))
        return
    for kind, tree in trees.items():
        click.echo("made from:" if kind == "up" else "went into:")
        for line in render_tree(tree):
            click.echo(plain(line, indent=True))


def _held(shared: Globals, name: Any) -> str:
    """Returns the id of a version that the warehouse holds."""
    from wbsync.download.held import find_held
    from wbsync.errors import WarehouseError

    held = find_held(shared.root(), name)
    if held is None:
        raise WarehouseError(f"{name} is not in this warehouse; sync its project first")
    return held.artifact_id
