"""What was changed in an object, as operations; and how a program's many small edits are shown.

A loop over a thousand runs makes a thousand edits. Each is queued, durably, before the call
returns; the published file is made anew at most for a tenth of the time, when something is read,
and when the program ends.
"""

from __future__ import annotations

import atexit
import threading
import time
from typing import TYPE_CHECKING, Any

from wbsync.writeback.checking import check
from wbsync.writeback.operations import MISSING, Operation, Target, same

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SHARE = 10
"""The file is made anew for at most one in so many seconds."""


def changes_of_tags(target: Target, was: Sequence[str], now: Sequence[str]) -> Iterator[Operation]:
    """Yields what makes tags of others: those that go, then those that come."""
    held = list(was)
    for tag in was:
        if tag not in now:
            yield Operation(target, "tags", "remove", tag, list(held))
            held.remove(tag)
    for tag in dict.fromkeys(now):
        if tag not in was:
            yield Operation(target, "tags", "add", tag, list(held))
            held.append(tag)


def changes_of_text(target: Target, field: str, was: Any, now: Any) -> Iterator[Operation]:
    """Yields what makes a text of another; None is an empty one."""
    if (was or "") != (now or ""):
        yield Operation(target, field, "set", now or "", was)


def changes_of_leaves(
    target: Target,
    field: str,
    was: Mapping[str, Any],
    now: Mapping[str, Any],
    path: tuple[str, ...] = (),
) -> Iterator[Operation]:
    """Yields what makes a dictionary of another, leaf by leaf."""
    for key in [*was, *(k for k in now if k not in was)]:
        place = (*path, key)
        old, new = was.get(key, MISSING), _plain(now.get(key, MISSING))
        if isinstance(old, dict) and isinstance(new, dict) and old and new:
            yield from changes_of_leaves(target, field, old, new, place)
        elif new is MISSING:
            yield Operation(target, field, "unset", base=old, path=place)
        elif old is MISSING or not same(old, new):
            yield Operation(target, field, "set", new, old, place)


def _plain(value: Any) -> Any:
    """Returns a number of numpy as one of Python's."""
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    return value.item() if is_scalar else value


def accept_changes(root: Path, operations: Sequence[Operation], why: str = "") -> str | None:
    """Queues what was changed in an object; returns the edit's id, None where nothing was.

    Raises:
        EditError: W&B would not take one of the changes; none is queued.
    """
    from wbsync.writeback.entries import Edit
    from wbsync.writeback.queue import Queue, server_of, who_am_i

    if not operations:
        return None
    for operation in operations:
        check(operation)
    edit = Edit(who_am_i(), why, "python", base_url=server_of(root))
    with Queue(root) as queue:
        queued = queue.add(edit, operations)
    if queued:
        _shower(root).tell()
    return edit.edit_id if queued else None


def show_changes(root: Path) -> None:
    """Has the published tables show what this program has queued, if they do not yet."""
    shower = _SHOWERS.get(root)
    if shower is not None:
        shower.flush()


class _Shower:
    """Shows the edits of one warehouse: at once, but not all the time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._is_due = False
        self._rest_until = 0.0
        self._timer: threading.Timer | None = None

    def tell(self) -> None:
        """Takes note that something was queued."""
        self._is_due = True
        rest = self._rest_until - time.monotonic()
        if rest <= 0:
            self.flush()
        elif self._timer is None or not self._timer.is_alive():
            self._timer = threading.Timer(rest, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Shows what is not shown yet."""
        from wbsync.writeback.overlay import show

        with self._lock:
            if not self._is_due:
                return
            self._is_due = False
            began = time.monotonic()
            if self._root.is_dir():
                show(self._root)
            ended = time.monotonic()
            self._rest_until = ended + SHARE * (ended - began)


_SHOWERS: dict[Path, _Shower] = {}


def _shower(root: Path) -> _Shower:
    if root not in _SHOWERS:
        shower = _SHOWERS[root] = _Shower(root)
        atexit.register(shower.flush)
    return _SHOWERS[root]
