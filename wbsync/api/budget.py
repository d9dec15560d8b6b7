"""How much a client may do: so many requests, so many minutes.

Each try of a request is claimed before it is sent, so the count can never be exceeded, whatever
retries or runs side by side. A request that is still unanswered when the time is up is given up.
Downloads from storage cost no request; whoever starts one asks `is_spent` first, and one that
brings something is let go on.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from wbsync.errors import BudgetSpentError

if TYPE_CHECKING:
    from collections.abc import Callable


USED_UP = "the requests or minutes that were allowed are used up"


class Budget:
    """Counts down; without limits it never ends."""

    def __init__(
        self,
        max_requests: int | None = None,
        max_minutes: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
            max_requests: GraphQL requests, retries included; None for any number.
            max_minutes: Minutes from now; None for any time.
            clock: Seconds that only grow.
        """
        self._left: float = math.inf if max_requests is None else max_requests
        self._clock = clock
        self._ends_at = math.inf if max_minutes is None else clock() + 60 * max_minutes

    @property
    def is_limited(self) -> bool:
        """Whether it can end at all."""
        return min(self._left, self._ends_at) < math.inf

    @property
    def requests_left(self) -> float:
        """How many requests may still be made; infinite without a limit."""
        return self._left

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be begun."""
        return self._left < 1 or self._clock() >= self._ends_at

    @property
    def seconds_left(self) -> float | None:
        """How long an answer may be waited for; None without a limit."""
        return None if self._ends_at == math.inf else max(0.0, self._ends_at - self._clock())

    def claim(self) -> None:
        """Counts a request that is about to be made.

        Raises:
            BudgetSpentError: It may not be made.
        """
        self.allow_wait(0.0)
        self._left -= 1

    def allow_wait(self, seconds: float, *, requests: int = 1) -> None:
        """Checks that a request can still be made after a wait.

        Args:
            seconds: How long the wait is.
            requests: Requests that follow it.

        Raises:
            BudgetSpentError: It cannot.
        """
        if self._left < requests or self._clock() + seconds >= self._ends_at:
            raise BudgetSpentError(USED_UP)
