"""The marker that makes a folder a warehouse, and says by which format it is written."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from wbsync import __version__
from wbsync.errors import MigrationError, WarehouseError, write_problem
from wbsync.lake.disk import replace_durably

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 2
"""Format that this wbsync writes; `sync/migrations.py` brings older ones up to it."""

MARKER = "wbsync-warehouse.json"

_UNUSABLE = re.compile(r"[?\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}" + (r"|\\" if os.name == "posix" else ""))
"""What a folder's path may not hold: DuckDB ends a path at `?`, delta-rs reads it as an address."""


def open_warehouse(root: Path) -> None:
    """Makes a folder a warehouse, or checks that it is one that this wbsync can read.

    Raises:
        WarehouseError: It holds other things, or cannot be made.
        MigrationError: A newer wbsync wrote it.
    """
    _check_path(root)
    marker = root / MARKER
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            if any(path != _unfinished(root) for path in root.iterdir()):
                raise WarehouseError(
                    f"{root} is not empty and no warehouse; name an empty or a new folder with -w"
                )
            write_format(root, FORMAT)
    except OSError as error:
        if root.is_file():
            raise WarehouseError(f"{root} is a file; name a folder with -w") from None
        raise WarehouseError(f"cannot use {root}: {write_problem(error)}") from error
    check_warehouse(root)


def write_format(root: Path, version: int) -> None:
    """Says of a warehouse by which format it is written.

    Raises:
        OSError: The disk refused.
    """
    text = json.dumps({"format": version, "written_by": __version__}) + "\n"
    _unfinished(root).write_text(text, encoding="utf-8")
    replace_durably(_unfinished(root), root / MARKER)


def _check_path(root: Path) -> None:
    """Raises an error where tables in a folder would be written elsewhere, or not be found."""
    path = str(root.resolve())
    if found := _UNUSABLE.search(path):
        raise WarehouseError(
            f"{path!r}: a warehouse cannot be in a folder whose path holds {found[0]!r}; rename it,"
            " or name another one with -w"
        )


def _unfinished(root: Path) -> Path:
    return root / f"{MARKER}.new"


def check_warehouse(root: Path) -> int:
    """Returns the format of a warehouse that this wbsync can read; older ones can be read, too.

    Raises:
        WarehouseError: It is none.
        MigrationError: A newer wbsync wrote it.
    """
    _check_path(root)
    marker = root / MARKER
    if root.exists() and not root.is_dir():
        raise WarehouseError(f"{root} is a file; name a folder with -w")
    if not marker.is_file():
        raise WarehouseError(
            f"{root} is not a warehouse: run `wbsync sync ENTITY/PROJECT` first, or name another"
            " folder with -w"
        )
    try:
        facts = json.loads(marker.read_text(encoding="utf-8"))
        written = int(facts["format"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WarehouseError(f"{marker} is damaged; restore it from a copy") from error
    if written > FORMAT:
        raise MigrationError(
            f"{root} has format {written}, written by wbsync {facts.get('written_by', '?')}; this"
            f" is wbsync {__version__}, which reads up to {FORMAT}: upgrade wbsync"
        )
    return written
