"""Keeps all tasks together under the server's rate limit, slowing before it is hit.

W&B's answers say what is left of the window's quota (`RateLimit-Remaining`, on the scale of
`RateLimit-Limit`) and in how many seconds it starts anew (`RateLimit-Reset`). While more than half
is left requests go at will; below that they are spread over what remains of the window.
Source: the headers that docs.wandb.ai/guides/track/limits describes.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

FREE_SHARE = 0.5
RESERVE_SHARE = 0.03
MAX_RESET_S = 120.0
"""Longest window that is believed, where an answer merely tells of the quota."""
MAX_PAUSE_S = 900.0
"""Longest wait that a server is granted when it refuses for now."""
NAP_S = 1.0
"""Longest sleep before looking again: another task's answer may have shortened the wait."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What an answer said about the rate limit."""

    remaining: float
    """Share of the window's quota that is left, 0 to 1."""
    reset_s: float
    """Seconds until the window starts anew."""


def parse_quota(headers: Mapping[str, str]) -> Quota | None:
    """Returns what the headers say of the rate limit, None where they say nothing of use."""
    try:
        limit = float(headers["ratelimit-limit"])
        remaining = float(headers["ratelimit-remaining"])
        reset_s = float(headers["ratelimit-reset"])
    except (KeyError, ValueError):
        return None
    if not all(map(math.isfinite, (limit, remaining, reset_s))) or limit <= 0 or reset_s < 0:
        return None
    return Quota(min(max(remaining / limit, 0.0), 1.0), min(reset_s, MAX_RESET_S))


def gap_s(quota: Quota, cost: float) -> float:
    """Returns the seconds to leave between requests.

    Args:
        quota: What the last answer said.
        cost: Share of the quota that one request was seen to take.
    """
    if quota.remaining > FREE_SHARE or cost <= 0:
        return 0.0
    usable = quota.remaining - RESERVE_SHARE
    if usable < cost:
        return quota.reset_s
    return quota.reset_s / (usable / cost)


class Pacer:
    """One gate for all requests of a client."""

    def __init__(
        self,
        concurrency: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gate = asyncio.Semaphore(concurrency)
        self._turn = asyncio.Lock()
        self._clock = clock
        self._sleep = sleep
        self._paused_until = -math.inf
        self._sent_at = -math.inf
        self._gap_s = 0.0
        self._last: Quota | None = None
        self._window_s = 0.0
        self._sent = 0
        self._cost = 0.0

    async def __aenter__(self) -> None:
        await self._gate.acquire()
        try:
            async with self._turn:
                while (wait_s := self.wait_s()) > 0:
                    await self._sleep(min(wait_s, NAP_S))
                self._sent_at = self._clock()
                self._sent += 1
        except BaseException:
            self._gate.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._gate.release()

    def wait_s(self) -> float:
        """Returns how long the next request has to wait, as far as is known now."""
        return max(self._paused_until, self._sent_at + self._gap_s) - self._clock()

    def forecast_s(self, requests: int) -> float:
        """Returns the seconds that the rate limit costs a number of requests, as far as is known.

        The quota lasts for some; what goes beyond waits for new windows, whose length is taken to
        be the longest time to a reset that was told.
        """
        if self._last is None or self._cost <= 0:
            return 0.0
        lasting = max(0.0, self._last.remaining - RESERVE_SHARE) / self._cost
        if requests <= lasting:
            return 0.0
        windows = (requests - lasting) * self._cost / (1 - RESERVE_SHARE)
        return self._last.reset_s + max(0.0, windows - FREE_SHARE) * self._window_s

    def heed(self, headers: Mapping[str, str]) -> None:
        """Learns from an answer's headers."""
        quota = parse_quota(headers)
        if quota is None:
            return
        last, self._last = self._last, quota
        self._window_s = max(self._window_s, quota.reset_s)
        if last is not None and quota.remaining < last.remaining and self._sent:
            self._cost = (last.remaining - quota.remaining) / self._sent
        if last is None or quota.remaining != last.remaining:
            self._sent = 0
        cost = self._cost or 0.01
        self._gap_s = gap_s(quota, cost)
        if quota.remaining - RESERVE_SHARE < cost:
            self.pause(quota.reset_s)

    def pause(self, seconds: float) -> None:
        """Has every task wait: the server said that the limit is reached."""
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, MAX_PAUSE_S))
