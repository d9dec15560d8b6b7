"""Publishes a warehouse without syncing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbsync.sync.holding import held

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.catalog import Published
    from wbsync.model import PublishOptions
    from wbsync.progress import ProgressHook


def publish_warehouse(
    root: Path,
    progress: ProgressHook,
    options: PublishOptions | None = None,
    *,
    rebuild: bool = False,
) -> Published:
    """Brings the published file up to date with the lake; needs no server.

    Args:
        root: Folder of the warehouse.
        progress: Told how a migration goes.
        options: What kind of file; None leaves it as it is.
        rebuild: Whether the file is made anew in any case.

    Raises:
        WarehouseError: The folder is no warehouse, or the file cannot be made.
        LockedError: A sync holds the warehouse, and will publish it.
        ConfigError: DuckDB does not know the storage version.
    """
    with held(root, progress) as holding:
        return holding.publish(options, rebuild=rebuild)
