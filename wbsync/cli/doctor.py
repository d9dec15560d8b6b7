"""`wbsync doctor`: what works and what does not, before it hurts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from wbsync import __version__
from wbsync.cli.diagnostics import ExitCode, exit_code_of
from wbsync.cli.options import Globals, base_url_option
from wbsync.plain import plain

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.lake import Lake

MIN_FREE_BYTES = 1_000_000_000


class Check(NamedTuple):
    """What was looked at, and how it is."""

    name: str
    detail: str
    code: ExitCode = ExitCode.OK
    """How the command ends because of it."""


@click.command()
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def command(shared: Globals, *, base_url: str | None, as_json: bool) -> int:
    """Check versions, key, server, disk and the warehouse.

    The exit code is that of the first fault: 3 for a server that cannot be reached, 4 for a key
    that is missing or not accepted, 2 for an address that cannot be one, 1 for all else.

    \b
    Example:
      wbsync doctor
    """
    root = shared.root()
    checks = [_versions(), *_server(shared, base_url), _disk(root), *_warehouse(root)]
    code = next((c.code for c in checks if c.code), ExitCode.OK)
    if as_json:
        facts = [{"check": c.name, "ok": not c.code, "detail": c.detail} for c in checks]
        click.echo(json.dumps({"checks": facts, "ok": not code}))
    else:
        for check in checks:
            click.echo(f"{'FAIL' if check.code else 'ok  '}  {check.name}: {plain(check.detail)}")
    return code


def _versions() -> Check:
    from importlib.metadata import version

    names = ("duckdb", "pyarrow", "deltalake", "httpx")
    found = ", ".join(f"{n} {version(n)}" for n in names)
    return Check("versions", f"wbsync {__version__}, Python {sys.version.split()[0]}, {found}")


def _server(shared: Globals, base_url: str | None) -> list[Check]:
    import asyncio

    from wbsync.errors import WbsyncError

    try:
        credentials = shared.credentials(base_url)
    except WbsyncError as error:
        return [Check("key", str(error), exit_code_of(error))]
    try:
        facts = asyncio.run(_ask(credentials))
    except WbsyncError as error:
        found = Check("key", f"from {credentials.source}")
        return [found, Check("server", str(error), exit_code_of(error))]
    return [
        Check("key", f"from {credentials.source}, user {facts['user']}"),
        Check("server", f"{credentials.base_url}, {facts['features']} features on"),
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
    text = f"{free / 1e9:,.1f} GB free at {folder}"
    if not os.access(folder, os.W_OK):
        return Check("disk", f"{text}, where you may not write", ExitCode.FAILED)
    return Check("disk", text, ExitCode.OK if free > MIN_FREE_BYTES else ExitCode.FAILED)


def _warehouse(root: Path) -> list[Check]:
    """Looks at the folder, the published file, the lake and the state."""
    try:
        return _parts(root)
    except OSError as error:
        text = f"cannot read {error.filename or root}: {error.strerror}"
        return [Check("warehouse", text, ExitCode.FAILED)]


def _parts(root: Path) -> list[Check]:
    from wbsync.catalog.examine import examine
    from wbsync.errors import WbsyncError
    from wbsync.lake import Lake, check_warehouse
    from wbsync.state import State

    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return [Check("warehouse", f"{root}: nothing synced yet")]
    try:
        check_warehouse(root)
    except WbsyncError as error:
        return [Check("warehouse", str(error), exit_code_of(error))]
    checks = []
    description, faults = examine(root)
    is_written = (root / "lake").is_dir()
    if not description and is_written:
        faults = ["nothing is published; run `wbsync publish`"]
    if description or is_written:
        text = "; ".join(filter(None, [description, *faults[:3]]))
        code = ExitCode.FAILED if faults else ExitCode.OK
        checks.append(Check("warehouse", f"{root / 'warehouse.duckdb'}: {text}", code))
    else:
        checks.append(Check("warehouse", f"{root}: nothing synced yet"))
    if description and not is_written:
        lost = f"{root / 'lake'} is missing; restore it from a copy, or sync into a new folder"
        checks.append(Check("lake", lost, ExitCode.FAILED))
    elif is_written:
        checks.append(_lake(Lake(root)))
    try:
        if (root / "state.sqlite").exists():
            State(root / "state.sqlite").close()
    except WbsyncError as error:
        checks.append(Check("state", str(error), exit_code_of(error)))
    return checks


def _lake(lake: Lake) -> Check:
    """Looks whether the tables open, and whether their files are there in full."""
    from wbsync.errors import WbsyncError

    try:
        tables = lake.tables()
        files = [file for table in tables for file in lake.data_files(table)]
    except WbsyncError as error:
        return Check("lake", str(error), exit_code_of(error))
    lost = [f.path for f in files if not f.path.is_file() or f.path.stat().st_size != f.size]
    if lost:
        text = f"{len(lost):,} of {len(files):,} files are missing or cut, the first is {lost[0]}"
        advice = "restore them from a copy, or sync into a new folder"
        return Check("lake", f"{text}; {advice}", ExitCode.FAILED)
    return Check("lake", f"{len(tables)} tables in {len(files):,} files")
