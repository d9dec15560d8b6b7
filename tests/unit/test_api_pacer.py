"""The pacer's arithmetic, and the pacer against a simulated rate limit."""

from __future__ import annotations

import asyncio
import math

import pytest

from wbsync.api.client import MAX_WAIT_S, wait_s
from wbsync.api.pacer import Pacer, Quota, gap_s, parse_quota


def headers(limit: object, remaining: object, reset: object) -> dict[str, str]:
    """Returns the rate limit's headers."""
    return {
        "ratelimit-limit": str(limit),
        "ratelimit-remaining": str(remaining),
        "ratelimit-reset": str(reset),
    }


class Timeline:
    """Time that passes only when every task sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Waits until the time has come."""
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, self._count, future))
        await future

    async def run(self, *tasks: asyncio.Task[None]) -> None:
        """Moves the time on, from sleeper to sleeper, until the tasks are done."""
        while not all(t.done() for t in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers:
                self._sleepers.sort()
                at, _, future = self._sleepers.pop(0)
                self.now = max(self.now, at)
                if not future.cancelled():
                    future.set_result(None)
        for task in tasks:
            task.result()


class LimitedServer:
    """A fixed window of so many requests, told on the scale of 0 to 1000."""

    def __init__(self, clock: Timeline, per_window: int, window_s: float = 60.0) -> None:
        self._clock = clock
        self._per_window = per_window
        self._window_s = window_s
        self._window = -1
        self._used = 0
        self.refused = 0
        self.served = 0

    def answer(self, others: int = 0) -> tuple[int, dict[str, str]]:
        """Returns the status and the headers of an answer given now."""
        window = int(self._clock.now // self._window_s)
        if window != self._window:
            self._window, self._used = window, others
        reset = (window + 1) * self._window_s - self._clock.now
        status = 200
        if self._used >= self._per_window:
            self.refused += 1
            status = 429
        else:
            self._used += 1
            self.served += 1
        left = 1000 * (self._per_window - self._used) // self._per_window
        return status, headers(1000, left, math.ceil(reset))


def simulate(
    requests: int, per_window: int, *, tasks: int = 16, concurrency: int = 4, others: int = 0
) -> tuple[LimitedServer, float, int]:
    """Returns the server, the seconds, and the most requests that were in flight at once."""
    clock = Timeline()
    server = LimitedServer(clock, per_window)
    state = {"left": requests, "flying": 0, "most": 0}

    async def work(pacer: Pacer) -> None:
        while state["left"] > 0:
            state["left"] -= 1
            while True:
                async with pacer:
                    state["flying"] += 1
                    state["most"] = max(state["most"], state["flying"])
                    await clock.sleep(0.05)
                    status, told = server.answer(others)
                    await clock.sleep(0.05)
                    state["flying"] -= 1
                    pacer.heed(told)
                if status == 200:
                    break
                pacer.pause(float(told["ratelimit-reset"]))

    async def run() -> None:
        pacer = Pacer(concurrency, clock=clock, sleep=clock.sleep)
        await clock.run(*(asyncio.ensure_future(work(pacer)) for _ in range(tasks)))

    asyncio.run(run())
    return server, clock.now, state["most"]


@pytest.mark.parametrize("per_window", [50, 300, 1000])
def test_the_limit_is_used_and_not_hit(per_window: int) -> None:
    """Three windows' worth of requests from many tasks meets no 429 storm, and does not idle."""
    server, seconds, most = simulate(per_window * 3, per_window)
    assert server.served == per_window * 3
    assert server.refused <= 4
    assert seconds < 4.2 * 60
    assert most <= 4


def test_a_limit_shared_with_others_is_respected() -> None:
    """Where other programs take most of the quota, what is left is spread and not overdrawn."""
    server, seconds, _ = simulate(150, 300, others=250)
    assert server.served == 150
    assert server.refused <= 12
    assert seconds < 6 * 60


def test_no_headers_means_no_waiting() -> None:
    """A server without a limit is asked as fast as it answers."""

    async def run() -> float:
        clock = Timeline()
        pacer = Pacer(1, clock=clock, sleep=clock.sleep)

        async def work() -> None:
            for _ in range(100):
                async with pacer:
                    pacer.heed({})

        await clock.run(asyncio.ensure_future(work()))
        return clock.now

    assert asyncio.run(run()) == 0.0


def test_a_new_window_ends_the_waiting_of_the_old() -> None:
    """A gap that was right before the window ended does not hold back what comes after."""

    async def run() -> float:
        clock = Timeline()
        pacer = Pacer(1, clock=clock, sleep=clock.sleep)

        async def work() -> None:
            async with pacer:
                pacer.heed(headers(1000, 0, 50))
            for _ in range(10):
                async with pacer:
                    pacer.heed(headers(1000, 990, 60))

        await clock.run(asyncio.ensure_future(work()))
        return clock.now

    assert 50 <= asyncio.run(run()) <= 52


def test_the_cost_of_a_limit_is_foretold() -> None:
    """Nothing while the quota lasts; what goes beyond takes as many windows as it needs."""

    async def run() -> list[float]:
        clock = Timeline()
        pacer = Pacer(1, clock=clock, sleep=clock.sleep)
        assert pacer.forecast_s(1000) == 0.0
        told = [headers(100, left, 60) for left in range(99, 79, -1)]

        async def work() -> None:
            for said in told:
                async with pacer:
                    pacer.heed(said)

        await clock.run(asyncio.ensure_future(work()))
        return [pacer.forecast_s(n) for n in (10, 75, 130, 300)]

    few, lasting, more, many = asyncio.run(run())
    assert few == lasting == 0.0
    assert 60 <= more <= 120
    assert 120 <= many <= 240


def test_a_cancelled_wait_gives_its_place_back() -> None:
    """A task that is cancelled while it waits its turn blocks nobody."""

    async def run() -> None:
        clock = Timeline()
        pacer = Pacer(1, clock=clock, sleep=clock.sleep)
        pacer.pause(10)

        async def work() -> None:
            async with pacer:
                pass

        first = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await clock.run(asyncio.ensure_future(work()))
        assert clock.now >= 10

    asyncio.run(run())


@pytest.mark.parametrize(
    ("told", "quota"),
    [
        ({}, None),
        (headers(1000, 250, 30), Quota(0.25, 30.0)),
        (headers(1000, 2000, 30), Quota(1.0, 30.0)),
        (headers(1000, -5, 30), Quota(0.0, 30.0)),
        (headers(1000, 0, 1e9), Quota(0.0, 120.0)),
        (headers(0, 0, 30), None),
        (headers(1000, 250, -1), None),
        (headers("many", 250, 30), None),
        (headers("nan", 250, 30), None),
        (headers(1000, "inf", 30), None),
    ],
)
def test_headers_are_read_with_care(told: dict[str, str], quota: Quota | None) -> None:
    """What a server says of its limit is used where it makes sense, and ignored elsewhere."""
    assert parse_quota(told) == quota


def test_the_gap_grows_as_the_quota_shrinks() -> None:
    """Plenty left: no gap. Less: what is left is spread evenly. Nothing: wait for the window."""
    cost = 1 / 300
    gaps = [gap_s(Quota(share, 30.0), cost) for share in (0.9, 0.5, 0.2, 0.1, 0.05, 0.0)]
    assert gaps[0] == 0.0
    assert gaps == sorted(gaps)
    assert gaps[1] == pytest.approx(30.0 / ((0.5 - 0.03) * 300))
    assert gaps[-1] == 30.0


def test_the_backoff_is_random_within_its_bounds() -> None:
    """Waits are spread over the whole interval, so that tasks do not return together."""
    waits = [wait_s(3, None) for _ in range(500)]
    assert 0 <= min(waits) < 0.5
    assert 3.5 < max(waits) <= 4.0
    assert all(wait_s(30, None) <= MAX_WAIT_S for _ in range(50))
    assert 5 <= wait_s(1, 5.0) <= 5.25
    assert 600 <= wait_s(1, 600.0) <= 600.25
