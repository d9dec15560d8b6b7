"""Publishes a warehouse without syncing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbsync.catalog import publish
from wbsync.lake import Lake, check_warehouse
from wbsync.state import State
from wbsync.sync.engine import hold, sync_log_table

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.catalog import Published


def publish_warehouse(
    root: Path,
    *,
    storage_version: str | None = None,
    materialize: bool | None = None,
    rebuild: bool = False,
) -> Published:
    """Brings the published file up to date with the lake; needs no server.

    Args:
        root: Folder of the warehouse.
        storage_version: DuckDB's format of the file; None leaves it as it is.
        materialize: Whether the rows of history and the like are in the file; None leaves it as
            it is.
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
                storage_version=storage_version,
                materialize=materialize,
                rebuild=rebuild,
            )
        finally:
            state.close()
