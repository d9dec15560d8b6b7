"""One sync at a time: who holds a warehouse, and how to wait for it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wbsync.errors import LockedError
from wbsync.progress import Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from wbsync.progress import ProgressHook

LOOK_EVERY_S = 0.2


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Holds the warehouse for one sync.

    Raises:
        LockedError: Another process holds it; the message says which.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".lock")
    holder = root / ".lock-holder.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(
            f"{root}: another sync{_describe(holder)} holds this warehouse; wait until it has"
            " ended (wbsync sync --wait does)"
        ) from None
    try:
        facts: dict[str, Any] = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
        holder.write_text(json.dumps(facts), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@asynccontextmanager
async def hold_within(root: Path, wait_s: float, progress: ProgressHook) -> AsyncIterator[None]:
    """Holds the warehouse for one sync, once others have let go of it.

    Args:
        root: Folder of the warehouse.
        wait_s: Seconds to wait; 0 does not wait.
        progress: Told once that there is a wait.

    Raises:
        LockedError: Another process holds it still; the message says which.
    """
    ends_at = time.monotonic() + wait_s
    is_told = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(root))
                break
            except LockedError as error:
                if time.monotonic() >= ends_at:
                    raise
                if not is_told:
                    progress(Waiting(str(error)))
                    is_told = True
                await asyncio.sleep(LOOK_EVERY_S)
        yield


def _describe(holder: Path) -> str:
    try:
        facts = json.loads(holder.read_text(encoding="utf-8"))
        return f" (process {int(facts['pid'])}, since {facts['since']})"
    except (OSError, ValueError, KeyError):
        return ""
