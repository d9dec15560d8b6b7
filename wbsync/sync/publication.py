"""Publishes a warehouse without syncing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbsync.catalog import publish
from wbsync.lake import Lake, check_warehouse
from wbsync.state import State
from wbsync.sync.engine import sync_log_table
from wbsync.sync.lock import hold

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.catalog import Published
    from wbsync.model import PublishOptions


def publish_warehouse(
    root: Path, options: PublishOptions | None = None, *, rebuild: bool = False
) -> Published:
    """Brings the published file up to date with the lake; needs no server.

    Args:
        root: Folder of the warehouse.
        options: What kind of file; None leaves it as it is.
        rebuild: Whether the file is made anew in any case.

    Raises:
        WarehouseError: The folder is no warehouse, or the file cannot be made.
        LockedError: A sync holds the warehouse, and will publish it.
        ConfigError: DuckDB does not know the storage version.
    """
    check_warehouse(root)
    with hold(root):
        state = State(root / "state.sqlite")
        try:
            return publish(
                root,
                Lake(root),
                sync_log=sync_log_table(state),
                options=options,
                rebuild=rebuild,
            )
        finally:
            state.close()
