"""The loop of a watch, with syncs that fail and recover as told."""

from __future__ import annotations

import asyncio
import random

import pytest

from wbsync.errors import (
    AuthenticationError,
    ConfigError,
    LockedError,
    NotFoundError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    TransportError,
    WbsyncError,
)
from wbsync.progress import SyncReport
from wbsync.sync.watch import LAST_PAUSE_S, Round, may_pass, pause_s, watch

REPORT = SyncReport(
    projects=(), outcome="complete", requests=2, bytes_in=0, seconds=0.1, runs=0, runs_changed=0,
    rows={}, history_rows=0,
)  # fmt: skip


def follow(*results: WbsyncError | None, interval_s: float = 0.001) -> list[Round]:
    """Returns the rounds of a watch whose syncs end so; it is stopped after the last."""
    rounds: list[Round] = []
    left = list(results)

    async def run() -> None:
        stop = asyncio.Event()

        async def sync_once() -> SyncReport:
            await asyncio.sleep(0)
            result = left.pop(0)
            if result is not None:
                raise result
            return REPORT

        def tell(turn: Round) -> None:
            rounds.append(turn)
            if not left:
                stop.set()

        rng = random.Random(1)
        rng.uniform = lambda a, b: 0.0  # type: ignore[method-assign]
        await watch(sync_once, interval_s, stop=stop, tell=tell, rng=rng)

    asyncio.run(run())
    return rounds


def test_what_passes_is_waited_out() -> None:
    """Rounds are numbered; failures are counted until a round works again."""
    rounds = follow(
        None, TransportError("gone"), ServerError("ill", status=502), LockedError("held"), None,
        ResponseShapeError("a proxy's page"), None,
    )  # fmt: skip
    assert [r.number for r in rounds] == list(range(1, 8))
    assert [r.failures for r in rounds] == [0, 1, 2, 3, 0, 1, 0]
    assert [r.had_failed for r in rounds] == [False, False, True, True, True, False, True]
    assert [r.report is None for r in rounds] == [False, True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("before", "error"),
    [
        ((None,), AuthenticationError("no")), ((None,), NotFoundError("no")),
        ((None,), ConfigError("no")), ((), ResponseShapeError("no W&B")),
        ((TransportError("x"),), ResponseShapeError("no W&B")),
    ],
)  # fmt: skip
def test_what_does_not_pass_ends_the_watch(
    before: tuple[WbsyncError | None, ...], error: WbsyncError
) -> None:
    """A key that is not taken, a project that is not there, an address that never was W&B's."""
    with pytest.raises(type(error)):
        follow(*before, error)


def test_pauses_grow_to_minutes_and_are_random() -> None:
    """All well: the interval. Failing: from seconds to five minutes, never all at once."""
    rng = random.Random(0)
    assert pause_s(0, 60.0, rng) == 60.0
    for failures, longest in ((1, 4.0), (2, 8.0), (5, 64.0), (9, LAST_PAUSE_S), (10**6, 300.0)):
        pauses = {pause_s(failures, 60.0, rng) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert pause_s(20, 3600.0, rng) > LAST_PAUSE_S
    limited = RateLimitedError("slow down", retry_after_s=0.05)
    assert follow(None, limited, None)[1].next_in_s == 0.05
    assert may_pass(limited, has_worked=False)


def test_a_stop_lets_the_sync_in_hand_end_cleanly() -> None:
    """The sync is cancelled and waited for; nothing starts after it."""
    said: list[str] = []

    async def run() -> None:
        stop = asyncio.Event()

        async def sync_once() -> SyncReport:
            said.append("begun")
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                said.append("committed")
            return REPORT

        task = asyncio.ensure_future(watch(sync_once, 1.0, stop=stop, tell=lambda _: None))
        await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(task, 5)

    asyncio.run(run())
    assert said == ["begun", "committed"]


def test_a_cancelled_watch_is_cancelled() -> None:
    """A watch that is cancelled from without says so, after its sync has ended."""

    async def run() -> None:
        async def sync_once() -> SyncReport:
            await asyncio.sleep(60)
            return REPORT

        task = asyncio.ensure_future(
            watch(sync_once, 1.0, stop=asyncio.Event(), tell=lambda _: None)
        )
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
