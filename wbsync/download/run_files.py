"""Brings files of a run to disk. Source: queries/wandb/run_file_urls.graphql."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.download.digests import Digest
from wbsync.download.fetch import Fetched, Fetcher, Item, no_file_fits
from wbsync.errors import NotFoundError
from wbsync.extract.values import as_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.api import Client
    from wbsync.model import RunPath
    from wbsync.progress import ProgressHook

PAGE_ROWS = 500
NAMES_PER_REQUEST = 100


async def list_run_files(client: Client, run: RunPath, pattern: str = "*") -> list[dict[str, Any]]:
    """Returns name, sizeBytes, md5, updatedAt and directUrl of a run's files.

    Args:
        client: Whom to ask.
        run: Whose files.
        pattern: What names must match, with `*`, `?` and `[…]`; `*` takes slashes, too.

    Raises:
        NotFoundError: There is no such run, or the key may not see it.
    """
    return await _list(client, run, pattern=pattern)


async def _list(
    client: Client, run: RunPath, *, pattern: str = "*", names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    variables = {
        "entity": run.entity,
        "project": run.project,
        "run": run.run_id,
        "names": list(names) or None,
    }

    def connection(data: dict[str, Any]) -> Any:
        node = (data.get("project") or {}).get("run")
        if node is None:
            raise NotFoundError(f"{run}: no such run, or this key may not see it")
        return node.get("files")

    found: dict[str, dict[str, Any]] = {}
    document = load_document("run_file_urls")
    async for page in iter_pages(
        client, document, variables, connection=connection, page_rows=PAGE_ROWS
    ):
        found |= {n["name"]: n for n in page.nodes if fnmatchcase(n["name"], pattern)}
    return list(found.values())


async def get_run_files(
    run: RunPath,
    warehouse: Path,
    client: Client,
    *,
    pattern: str = "*",
    target: Path | None = None,
    progress: ProgressHook,
    concurrency: int = 8,
) -> tuple[Path, Fetched]:
    """Brings files of a run to disk, each checked against its digest where W&B gives one.

    Args:
        run: Whose files.
        warehouse: Folder of the warehouse, whose cache is used.
        client: Whom to ask.
        pattern: What names must match, with `*`, `?` and `[…]`.
        target: Folder for the files; None makes `files/RUN_ID`.
        progress: Called as files come.
        concurrency: Files in flight.

    Returns:
        The folder, and what was done.

    Raises:
        NotFoundError: There is no such run, or the key may not see it, or no file fits.
    """
    folder = target or Path("files") / run.run_id
    everything = {n["name"]: n for n in await _list(client, run)}
    nodes = {name: n for name, n in everything.items() if fnmatchcase(name, pattern)}
    if not nodes and pattern != "*":
        raise NotFoundError(f"{run}: {no_file_fits(pattern, everything)}")
    fetcher = Fetcher(warehouse, folder, client, progress, concurrency)
    items = [
        Item(name, Digest.parse(n.get("md5")), as_int(n.get("sizeBytes")))
        for name, n in nodes.items()
    ]
    is_first = True

    async def addresses(wanted: Sequence[Item]) -> dict[str, str]:
        nonlocal is_first
        if is_first:
            is_first = False
            return {i.name: nodes[i.name]["directUrl"] for i in wanted}
        names = [i.name for i in wanted]
        found: list[dict[str, Any]] = []
        for start in range(0, len(names), NAMES_PER_REQUEST):
            found += await _list(client, run, names=names[start : start + NAMES_PER_REQUEST])
        return {n["name"]: n["directUrl"] for n in found if n.get("directUrl")}

    await fetcher.fetch(items, addresses)
    return folder, fetcher.fetched
