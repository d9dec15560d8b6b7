"""Looks after the lake: compaction and vacuum, on request and in passing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from wbsync.catalog.check import published_files
from wbsync.lake.compact import SMALL, Compacted, compact, small_files
from wbsync.lake.vacuum import Garbage, delete_files, find_garbage
from wbsync.progress import Working
from wbsync.sync.holding import held

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wbsync.progress import ProgressHook
    from wbsync.sync.holding import Holding

KEEP = timedelta(days=7)
"""How long every state of the warehouse stays readable, unless something else is asked for."""

MANY_SMALL_FILES = 32
TINY = 32
"""As many files of one table that are smaller than such a part of the size they should have are
put together in passing: those of many small syncs, not the segments of a large one."""

VACUUM_EVERY = timedelta(days=1)
_LAST_VACUUM = ("last_vacuum_at", "", "")


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What a vacuum found to delete, and deleted unless it only looked."""

    garbage: tuple[Garbage, ...]
    is_dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        return {
            "dry_run": self.is_dry_run,
            "files": sum(len(g.files) for g in self.garbage),
            "bytes": sum(g.bytes for g in self.garbage),
            "files_before": sum(g.files_kept + len(g.files) for g in self.garbage),
            "files_after": sum(g.files_kept for g in self.garbage),
            "bytes_before": sum(g.bytes_kept + g.bytes for g in self.garbage),
            "bytes_after": sum(g.bytes_kept for g in self.garbage),
            "tables": {
                g.table: {"files": len(g.files), "bytes": g.bytes} for g in self.garbage if g.files
            },
        }


def compact_warehouse(
    root: Path, progress: ProgressHook, tables: Sequence[str] = ()
) -> list[Compacted]:
    """Puts the small files of tables together, and publishes.

    Killed at any moment it leaves what was done, or nothing; never rows twice or not at all.

    Args:
        root: Folder of the warehouse.
        progress: Told how it goes.
        tables: Tables to compact; none means all.

    Raises:
        LockedError: Another process holds the warehouse.
        WarehouseError: A file cannot be read, or the disk refused.
    """
    with held(root, progress) as holding:
        done = [
            report
            for table in (tables or holding.lake.tables())
            if (report := _compact(holding, table, progress)) is not None
        ]
        holding.publish()
    return done


def vacuum_warehouse(
    root: Path, keep: timedelta, progress: ProgressHook, *, dry_run: bool = False
) -> Vacuumed:
    """Deletes the files that nothing needs any more.

    Args:
        root: Folder of the warehouse.
        keep: How far back every state of the warehouse is to stay readable.
        progress: Told how it goes.
        dry_run: Whether only to look.

    Raises:
        LockedError: Another process holds the warehouse.
        WarehouseError: A log cannot be read, or the disk refused.
    """
    with held(root, progress) as holding:
        return _vacuum(holding, keep, progress, dry_run=dry_run)


def tidy(holding: Holding, progress: ProgressHook, *, has_written: bool) -> None:
    """Does in passing what is due: puts many small files together, and deletes once a day.

    Args:
        holding: The warehouse.
        progress: Told how it goes.
        has_written: Whether there can be more files than the last time.
    """
    lake = holding.lake
    tables = lake.tables() if has_written else []
    due = [table for table in tables if len(small_files(lake, table, TINY)) >= MANY_SMALL_FILES]
    if due:
        for table in due:
            _compact(holding, table, progress, share=TINY)
        # What was written is published: so this only names other files, and copies no row.
        holding.publish()
    now = datetime.now(UTC)
    last = holding.state.mark(*_LAST_VACUUM)
    if last is None:
        holding.state.set_mark(*_LAST_VACUUM, now.isoformat())
    elif abs(now - datetime.fromisoformat(last)) >= VACUUM_EVERY:  # a clock was set back
        _vacuum(holding, KEEP, progress, dry_run=False)


def _compact(
    holding: Holding, table: str, progress: ProgressHook, *, share: int = SMALL
) -> Compacted | None:
    return compact(
        holding.lake,
        table,
        holding.scratch,
        lambda done, total: progress(Working(f"compacting {table}", done, total)),
        share=share,
    )


def _vacuum(
    holding: Holding, keep: timedelta, progress: ProgressHook, *, dry_run: bool
) -> Vacuumed:
    now = datetime.now(UTC)
    published = published_files(holding.root)
    tables = holding.lake.tables()
    garbage = []
    for index, table in enumerate(tables):
        garbage.append(find_garbage(holding.lake, table, now - keep, published))
        if not dry_run:
            delete_files(garbage[-1].files)
        progress(Working("vacuum", index + 1, len(tables)))
    if not dry_run:
        holding.state.set_mark(*_LAST_VACUUM, now.isoformat())
    return Vacuumed(tuple(garbage), dry_run)
