"""Vacuum: Parquet files that nothing needs any more are deleted.

A file is needed by the table's newest version, by a version that was the newest at some time
since the keep began, and by a published file that still stands in the catalog. All others go:
those that a commit took out of the table before that, and those of writes that were killed.

delta-rs has a vacuum, too; it knows nothing of published files, counts in hours, and makes two
commits, after which all that is published would be stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import WarehouseError
from wbsync.lake.log import iter_times

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from wbsync.lake.delta import Lake


@dataclass(frozen=True, slots=True)
class Garbage:
    """Files of a table that nothing needs."""

    table: str
    files: tuple[Path, ...]
    bytes: int
    files_kept: int
    bytes_kept: int


def find_garbage(lake: Lake, table: str, cutoff: datetime, published: Collection[str]) -> Garbage:
    """Returns the files of a table that may be deleted.

    Args:
        lake: The lake; nobody else may write to it meanwhile.
        table: Table to look at.
        cutoff: Since when every state of the table is to stay readable.
        published: Names of files that published files read.
    """
    folder = lake.path(table)
    needed = {file.name for file in lake.files(table)} | set(published)
    for at, commit in iter_times(folder):
        # A commit whose time has not come yet may have been made just now.
        if max(at, commit.at) >= cutoff:
            needed.update(commit.removed)
    gone: list[Path] = []
    sizes = {True: 0, False: 0}
    kept = 0
    for path in sorted(folder.glob("*.parquet")):
        facts = path.stat()
        is_garbage = path.name not in needed and facts.st_mtime < cutoff.timestamp()
        sizes[is_garbage] += facts.st_size
        if is_garbage:
            gone.append(path)
        else:
            kept += 1
    return Garbage(table, tuple(gone), sizes[True], kept, sizes[False])


def delete_files(files: Sequence[Path]) -> None:
    """Deletes files; one that is gone already is no matter.

    Raises:
        WarehouseError: The disk refused.
    """
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise WarehouseError(f"cannot delete {path}: {error.strerror}") from error
