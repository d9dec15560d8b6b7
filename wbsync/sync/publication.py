"""Publishes a warehouse without syncing it, and opens what is published."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wbsync.errors import LockedError, WarehouseError

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.catalog import Published
    from wbsync.model import PublishOptions
    from wbsync.progress import ProgressHook
    from wbsync.query import Engine

_log = logging.getLogger(__name__)


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
    from wbsync.sync.holding import held

    with held(root, progress) as holding:
        return holding.publish(options, rebuild=rebuild)


def open_published(root: Path) -> Engine:
    """Opens the newest published state of a warehouse, read-only.

    Where a first sync was killed before it could publish, what it has committed is published first.

    Args:
        root: Folder of the warehouse.

    Raises:
        LockedError: Nothing is published yet, and a sync is under way.
        WarehouseError: The folder is no warehouse, or holds nothing yet.
    """
    from wbsync.query import Engine
    from wbsync.query.engine import published_path

    if published_path(root) is None and (root / "lake").is_dir():
        try:
            publish_warehouse(root, lambda _: None)
        except LockedError:
            raise
        except (WarehouseError, OSError) as error:
            # Where nobody may write, or something is damaged, opening says what to do.
            _log.info("nothing is published in %s, and it cannot be: %s", root, error)
    return Engine.open(root)
