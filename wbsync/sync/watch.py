"""Syncs again and again: a round, a pause, a round.

What will pass (no network, a server that restarts, a rate limit, another sync that holds the
warehouse) is reported when it begins and when it ends, and waited out with growing, random pauses.
What will not pass ends the watch. Each round opens all that it needs and closes it again, so
nothing gathers, and nothing is held while the watch sleeps.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import (
    ApiError,
    AuthenticationError,
    LockedError,
    NotFoundError,
    Retryable,
    WbsyncError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wbsync.progress import SyncReport

FIRST_PAUSE_S = 2.0
LAST_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class Round:
    """How one round went."""

    number: int
    report: SyncReport | None
    """None where it failed."""
    error: WbsyncError | None
    failures: int
    """Rounds that have failed in a row, this one included."""
    had_failed: bool
    """Whether the round before failed."""
    next_in_s: float
    """Seconds until the next one."""


def may_pass(error: WbsyncError, *, has_worked: bool) -> bool:
    """Says whether a failed round is a reason to go on.

    Args:
        error: What ended it.
        has_worked: Whether a round has succeeded before. Then an answer that is not W&B's is a
            proxy in front of a server that is not up yet, and no misspelt address.
    """
    if isinstance(error, (Retryable, LockedError)):
        return True
    is_final = isinstance(error, (AuthenticationError, NotFoundError))
    return has_worked and isinstance(error, ApiError) and not is_final


def pause_s(failures: int, interval_s: float, rng: random.Random) -> float:
    """Returns the seconds until the next round.

    Args:
        failures: Rounds that have failed in a row.
        interval_s: Seconds between rounds when all is well.
        rng: Randomness: watchers of one server must not come back together.
    """
    if not failures:
        return interval_s
    longest = max(interval_s, LAST_PAUSE_S)
    return rng.uniform(0.5, 1.0) * min(longest, FIRST_PAUSE_S * 2.0 ** min(failures, 20))


async def watch(
    sync_once: Callable[[], Awaitable[SyncReport]],
    interval_s: float,
    *,
    stop: asyncio.Event,
    tell: Callable[[Round], None],
    rng: random.Random | None = None,
) -> None:
    """Syncs until it is told to stop.

    Args:
        sync_once: Makes one sync.
        interval_s: Seconds between the end of one and the start of the next.
        stop: Ends the watch; a sync that is under way commits what it has in hand and publishes.
        tell: Called after each round.
        rng: Randomness of the pauses.

    Raises:
        WbsyncError: A round failed, and so would the next.
        asyncio.CancelledError: The watch was cancelled from without.
    """
    rng = rng or random.Random()  # noqa: S311
    number = failures = 0
    has_worked = False
    while not stop.is_set():
        number += 1
        had_failed = failures > 0
        report, problem = None, None
        task = asyncio.ensure_future(sync_once())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
            report = await task
            failures, has_worked = 0, True
        except asyncio.CancelledError:
            if stop.is_set() and task.cancelled():
                return
            raise
        except WbsyncError as error:
            if not may_pass(error, has_worked=has_worked):
                raise
            failures += 1
            problem = error
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        wait_s = pause_s(failures, interval_s, rng)
        if isinstance(problem, Retryable):
            wait_s = max(wait_s, problem.retry_after_s or 0.0)
        tell(Round(number, report, problem, failures, had_failed, wait_s))
        try:
            await asyncio.wait_for(stop.wait(), wait_s)
        except TimeoutError:
            continue
