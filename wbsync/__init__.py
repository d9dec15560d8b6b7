"""wbsync keeps a local analytics warehouse in step with Weights & Biases."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync import errors
    from wbsync.errors import CommError
    from wbsync.offline import Api
    from wbsync.warehouse import Warehouse

__version__ = "0.1.0"

__all__ = ["Api", "CommError", "__version__", "errors", "open"]


def open(directory: str | Path | None = None) -> Warehouse:  # noqa: A001
    """Returns a warehouse.

    Args:
        directory: Its folder; None takes `WBSYNC_WAREHOUSE`, the nearest wbsync.toml's, or the
            default under the user's data folder.
    """
    from wbsync.warehouse import open_warehouse

    return open_warehouse(directory)


def __getattr__(name: str) -> Any:
    """Returns what is heavy to import when it is first asked for."""
    if name == "Api":
        from wbsync.offline import Api

        return Api
    if name == "errors":
        return importlib.import_module("wbsync.errors")
    if name == "CommError":
        from wbsync.errors import CommError

        return CommError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
