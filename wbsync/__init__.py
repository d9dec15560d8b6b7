"""wbsync keeps a local analytics warehouse in step with Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.warehouse import Warehouse

__version__ = "0.1.0"

__all__ = ["__version__", "open"]


def open(directory: str | Path | None = None) -> Warehouse:  # noqa: A001
    """Returns a warehouse.

    Args:
        directory: Its folder; None takes `WBSYNC_WAREHOUSE`, the nearest wbsync.toml's, or the
            default under the user's data folder.
    """
    from wbsync.warehouse import open_warehouse

    return open_warehouse(directory)
