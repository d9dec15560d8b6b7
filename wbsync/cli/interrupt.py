"""Ctrl-C and SIGTERM: the work in hand is brought to a clean end, a second signal cuts it short."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, TypeVar

from wbsync.cli.diagnostics import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

T = TypeVar("T")


@contextlib.contextmanager
def _told(act: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Has the first SIGINT or SIGTERM call `act`; the second acts as if there were no handler."""
    loop = asyncio.get_running_loop()

    def handle(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        act(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        # Where an event loop takes no handlers (Windows), Ctrl-C is a KeyboardInterrupt as ever.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in signals:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def run_until_told(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Returns what `work` does; a signal cancels it.

    Raises:
        KeyboardInterrupt: It was cancelled.
    """

    async def main() -> T:
        task = asyncio.ensure_future(work())

        def act(_: signal.Signals) -> None:
            task.cancel()

        with _told(act):
            return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def follow_until_told(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Runs what goes on until its event is set; a signal sets it.

    Returns:
        OK after SIGTERM, with which supervisors end what has no end of its own; INTERRUPTED after
        Ctrl-C.
    """

    async def main() -> signal.Signals | None:
        stop = asyncio.Event()
        told: list[signal.Signals] = []

        def act(number: signal.Signals) -> None:
            told.append(number)
            stop.set()

        with _told(act):
            await work(stop)
        return told[0] if told else None

    return ExitCode.INTERRUPTED if asyncio.run(main()) == signal.SIGINT else ExitCode.OK
