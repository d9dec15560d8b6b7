"""A warehouse that this process holds: its lake, its state, and how it is published."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wbsync.catalog import publish
from wbsync.errors import WarehouseError
from wbsync.lake import Lake, check_warehouse
from wbsync.state import State
from wbsync.sync.ledger import keep_ledger
from wbsync.sync.lock import hold
from wbsync.sync.migrations import migrate
from wbsync.tables import load_table
from wbsync.writeback.overlay import QueueOverlay

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from wbsync.catalog import Published
    from wbsync.model import PublishOptions
    from wbsync.progress import ProgressHook


@dataclass(frozen=True, slots=True)
class Holding:
    """A warehouse that this process holds."""

    root: Path
    lake: Lake
    state: State
    scratch: Path
    """Folder for what is needed meanwhile; it goes in the end."""

    def publish(self, options: PublishOptions | None = None, *, rebuild: bool = False) -> Published:
        """Publishes what was committed, now or by a process that was killed before it could.

        Edits that wait lie over it.

        Args:
            options: What kind of file; None leaves it as it is.
            rebuild: Whether the file is made anew in any case.
        """
        log = sync_log_table(self.state)
        return publish(
            self.root, self.lake, sync_log=log, options=options, rebuild=rebuild,
            overlay=QueueOverlay(self.root),
        )  # fmt: skip


@contextmanager
def held(root: Path, progress: ProgressHook) -> Iterator[Holding]:
    """Holds a warehouse, brings it up to this wbsync's format, and opens what is in it.

    Args:
        root: Folder of the warehouse.
        progress: Told how a migration goes.

    Raises:
        WarehouseError: The folder is no warehouse, or cannot be read.
        LockedError: Another process holds it.
    """
    check_warehouse(root)
    with hold(root), opened(root, progress) as holding:
        yield holding


@contextmanager
def opened(root: Path, progress: ProgressHook) -> Iterator[Holding]:
    """Brings a warehouse that this process holds up to date with itself, and opens it.

    It is migrated to this wbsync's format, and its ledger gets the accounts of what was committed
    by a process that was killed before it wrote them.
    """
    for leftover in root.glob("scratch-*"):  # of processes that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    state = State(root / "state.sqlite")
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=root))
    try:
        holding = Holding(root, Lake(root), state, scratch)
        migrate(holding, progress)
        with suppress(WarehouseError):  # of what is damaged: a verification says so
            keep_ledger(holding.lake, state, datetime.now(UTC))
        yield holding
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        state.close()


def sync_log_table(state: State) -> pa.Table:
    """Returns the sync log in its table's schema."""
    import pyarrow as pa

    rows = state.sync_log()
    for row in rows:
        for name in ("started_at", "ended_at"):
            row[name] = datetime.fromisoformat(row[name]) if row[name] else None
    return pa.Table.from_pylist(rows, schema=load_table("sync_log").arrow())
