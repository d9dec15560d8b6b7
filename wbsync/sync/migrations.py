"""Brings a warehouse that an older wbsync wrote up to the format of this one.

A migration leads from one format to the next. It runs while the warehouse is held, and may be
killed at any moment: what it has committed it finds done when it runs again, and the format is
marked as reached only in the end. Columns that a table gained need no migration: the lake adds
them when the table is written next, and reads NULL where a file lacks them.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from wbsync.errors import MigrationError
from wbsync.lake import FORMAT, check_warehouse, write_format
from wbsync.lake import verify as disk
from wbsync.progress import Working
from wbsync.sync.cursors import Cursor, Cursors
from wbsync.sync.ledger import TABLES as COUNTED
from wbsync.sync.ledger import counts_of_keys, keep_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.lake import Lake
    from wbsync.model import RunPath
    from wbsync.progress import ProgressHook
    from wbsync.sync.holding import Holding

_log = logging.getLogger(__name__)

RUNS_PER_COMMIT = 5000
KEYS = "history_keys"


def migrate(holding: Holding, progress: ProgressHook) -> None:
    """Brings a held warehouse up to the format that this wbsync writes.

    Raises:
        MigrationError: There is no way from its format to this one.
    """
    before = version = check_warehouse(holding.root)
    while version < FORMAT:
        step = MIGRATIONS.get(version)
        if step is None:
            raise MigrationError(f"{holding.root} has format {version}, which cannot be migrated")
        step(holding, progress)
        version += 1
        write_format(holding.root, version)
        _log.info("migrated %s to format %d", holding.root, version)
    if version != before:
        holding.publish()


def count_what_is_held(holding: Holding, progress: ProgressHook) -> None:
    """From 1 to 2: cursors count and sum what they vouch for, and there is a ledger of them."""
    for table in COUNTED:
        _count_cursors(holding, table, progress)
    history = Cursors(holding.lake, holding.state, "history").committed(None)
    counted = Cursors(holding.lake, holding.state, KEYS).committed(None)
    # What history_keys were written at is compared with the cursor whole, so it must count, too.
    renewed = {
        run: cursor
        for run, cursor in history.items()
        if cursor is not None
        and (known := counted.get(run)) not in {None, cursor}
        and known == _uncounted(cursor)
    }
    _commit(holding.lake, KEYS, renewed)
    keep_ledger(holding.lake, holding.state, datetime.now(UTC))


MIGRATIONS: dict[int, Callable[[Holding, ProgressHook], None]] = {1: count_what_is_held}
"""Format to the migration that leads to the next."""


def _count_cursors(holding: Holding, table: str, progress: ProgressHook) -> None:
    """Commits what the cursors of a table amount to, where they do not say."""
    lake = holding.lake
    cursors = Cursors(lake, holding.state, table).committed(None)
    open_cursors = {run: c for run, c in cursors.items() if c is not None and c.content is None}
    if not open_cursors:
        return
    files = [file.path for file in lake.data_files(table) if not disk.check_file(table, file)]
    sums: disk.Sums = {}
    for number, file in enumerate(list(files), 1):
        try:
            disk.sum_by_run(lake, table, file, sums)
        except (OSError, pa.ArrowException) as error:
            # A verification finds the file; counts of keys still tell what was in it.
            _log.warning("cannot count %s: %s", file, error)
            files.remove(file)
        progress(Working(f"migrating {table}", number, len(files)))
    steps = disk.distinct_steps(lake, table, files, holding.scratch)
    known = counts_of_keys(lake) if table == "history" else {}
    counted = {}
    for run, cursor in open_cursors.items():
        values, checksum = sums.get(run, (0, 0))
        is_sampled = cursor.rows < (cursor.claimed_rows or 0)
        by_keys, source = known.get(run, (0, "sampled" if is_sampled else "rows"))
        counted[run] = replace(
            cursor,
            values=max(values, by_keys),
            steps=steps.get(run, 0),
            checksum=checksum,
            source=source,
        )
    _commit(lake, table, counted)


def _uncounted(cursor: Cursor) -> Cursor:
    return replace(cursor, values=None, steps=None, checksum=None, source=None)


def _commit(lake: Lake, table: str, cursors: dict[RunPath, Cursor]) -> None:
    """Commits cursors, and no rows, some at a time."""
    runs = sorted(cursors)
    for start in range(0, len(runs), RUNS_PER_COMMIT):
        chosen = {run: cursors[run] for run in runs[start : start + RUNS_PER_COMMIT]}
        lake.drop(table, [], Cursors.metadata(chosen))
