"""Ctrl-C while DuckDB works: Python hears of signals between its own steps only.

The main thread, which alone hears of them, waits while another one does the work. That one stays,
as handing a call over costs less than half of starting a thread.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Worker:
    """A thread that makes calls one after the other, as only the main thread hands them over."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def take(self, call: Callable[[], None]) -> None:
        """Makes a call soon."""
        if self._thread is None or not self._thread.is_alive():  # as after a fork
            self._thread = threading.Thread(target=self._work, name="wbsync-query", daemon=True)
            self._thread.start()
        self._calls.put(call)

    def _work(self) -> None:
        while True:
            self._calls.get()()  # with no name that would hold on to what it holds


_WORKER = _Worker()


def interruptible(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """Returns what a long call into a library returns, or raises; Ctrl-C ends it.

    Args:
        work: The call.
        stop: What makes it return early, from any thread.

    Raises:
        KeyboardInterrupt: It was ended.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def call() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            ended.set()

    _WORKER.take(call)
    try:
        ended.wait()
    except KeyboardInterrupt:
        stop()
        ended.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]
