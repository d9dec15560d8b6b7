"""`wbsync doctor`: what works and what does not, before it hurts."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from wbsync import __version__
from wbsync.cli.diagnostics import ExitCode, plain
from wbsync.cli.options import Globals, base_url_option

if TYPE_CHECKING:
    from pathlib import Path

Check = tuple[str, bool, str]

MIN_FREE_BYTES = 1_000_000_000


@click.command()
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, base_url: str | None, as_json: bool) -> int:
    """Check versions, key, server, disk and the published file.

    \b
    Example:
      wbsync doctor
    """
    root = shared.root()
    checks = [_versions(), *_server(shared, base_url), _disk(root), _published(root)]
    if as_json:
        facts = [{"check": n, "ok": ok, "detail": text} for n, ok, text in checks]
        click.echo(json.dumps({"checks": facts, "ok": all(c[1] for c in checks)}))
    else:
        for name, is_ok, text in checks:
            click.echo(f"{'ok  ' if is_ok else 'FAIL'}  {name}: {plain(text)}")
    return ExitCode.OK if all(c[1] for c in checks) else ExitCode.FAILED


def _versions() -> Check:
    from importlib.metadata import version

    names = ("duckdb", "pyarrow", "deltalake", "httpx")
    found = ", ".join(f"{n} {version(n)}" for n in names)
    return "versions", True, f"wbsync {__version__}, Python {sys.version.split()[0]}, {found}"


def _server(shared: Globals, base_url: str | None) -> list[Check]:
    import asyncio

    from wbsync.errors import WbsyncError

    try:
        credentials = shared.credentials(base_url)
    except WbsyncError as error:
        return [("key", False, str(error))]
    try:
        facts = asyncio.run(_ask(credentials))
    except WbsyncError as error:
        return [("key", True, f"from {credentials.source}"), ("server", False, str(error))]
    return [
        ("key", True, f"from {credentials.source}, user {facts['user']}"),
        ("server", True, f"{credentials.base_url}, {facts['features']} features on"),
    ]


async def _ask(credentials: Any) -> dict[str, Any]:
    from wbsync.api import Client, load_document
    from wbsync.errors import ApiError, AuthenticationError

    async with Client.open(credentials, max_attempts=2) as client:
        viewer = (await client.execute(load_document("viewer"), {})).get("viewer")
        if viewer is None:
            raise AuthenticationError(f"{credentials.base_url} does not know this API key")
        try:
            info = (await client.execute(load_document("server_info"), {})).get("serverInfo") or {}
        except ApiError:
            info = {}
    features = [f for f in info.get("features") or [] if f.get("isEnabled")]
    return {"user": viewer.get("username"), "features": len(features)}


def _disk(root: Path) -> Check:
    folder = root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return "disk", free > MIN_FREE_BYTES, f"{free / 1e9:,.1f} GB free at {folder}"


def _published(root: Path) -> Check:
    from wbsync.catalog.examine import examine

    description, faults = examine(root)
    if not description:
        return "warehouse", True, f"{root}: nothing synced yet"
    return (
        "warehouse",
        not faults,
        f"{root / 'warehouse.duckdb'}: " + "; ".join([description, *faults[:3]]),
    )
