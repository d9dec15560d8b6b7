"""Brings the edits of the queue to W&B: read, merge, write what differs, read again.

For each hundred things the loop is: read what W&B holds; merge; write down in the queue what is
about to be sent, with the values before and after; send it; read again. An operation is applied
when a reading shows it, never because an answer said so. Whatever goes wrong in between, and
wherever a push is killed, the next reading tells what had arrived.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api import Budget, Capabilities, Client
from wbsync.errors import BudgetSpentError, EditError, LockedError
from wbsync.settings import is_same_server
from wbsync.state import State
from wbsync.writeback.entries import LEFT_STATES, OPEN_STATES
from wbsync.writeback.merge import Policy
from wbsync.writeback.overlay import show
from wbsync.writeback.queue import Queue
from wbsync.writeback.sending import Sender
from wbsync.writeback.settling import Settling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from wbsync.settings import Credentials
    from wbsync.writeback.entries import Entry
    from wbsync.writeback.merge import Verdict
    from wbsync.writeback.operations import Target

CHUNK_THINGS = 100
CHUNK_CHARS = 20_000_000
"""About how much config, summary and metadata is to be in memory at once."""
CONFLICT_POLICIES = ("fail", "mine", "theirs")


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one operation, or would."""

    op_id: int
    target: str
    field: str
    outcome: str
    """held (W&B had it already), conflict, failed, pending (left), dropped; send in a dry run."""
    reason: str | None = None


@dataclass(slots=True)
class PushReport:
    """What a push did, and what is left."""

    push_id: str | None
    """None for a dry run."""
    outcome: str = "complete"
    """complete, partial (something is not settled), or stopped (the budget is spent); of a dry run
    as that of a push would be, should W&B take all that would be sent."""
    applied: int = 0
    """Operations that W&B holds now because of this push or one before it."""
    held: int = 0
    """Operations of which W&B held the result already, though nobody had pushed them."""
    conflicts: int = 0
    failed: int = 0
    left: int = 0
    """Operations that are still to be pushed."""
    dropped: int = 0
    """Operations that gave way to what W&B holds."""
    to_send: int = 0
    """Of a dry run: operations that would be written."""
    unsettled: int = 0
    """Operations among those meant that are not settled, from this push or from before; of a dry
    run those that a push would leave so."""
    things: int = 0
    requests: int = 0
    seconds: float = 0.0
    told: list[Told] = field(default_factory=list)
    """What was not simply applied; of a dry run everything."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return asdict(self)


async def push(
    root: Path,
    credentials: Credentials,
    *,
    chosen: Callable[[Target], bool] | None = None,
    limit: int | None = None,
    policy: Policy | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
    concurrency: int = 2,
    budget: Budget | None = None,
) -> PushReport:
    """Pushes the open edits of a warehouse.

    Args:
        root: Folder of the warehouse.
        credentials: Whom to tell, and the key.
        chosen: Says which things are meant; None for all.
        limit: Most things to push; None for all.
        policy: What to do about conflicts and live runs; None waits in both.
        dry_run: Whether to read and merge alone, and say what would be done.
        progress: Called with the number of things that are done and of all.
        concurrency: Requests in flight.
        budget: Requests and time that it may take; None for no limit.

    Raises:
        AuthenticationError: The server does not take the key.
        EditError: An edit that is meant was made for another server.
        LockedError: Another push is under way.
        TransportError, RateLimitedError, ServerError: The server cannot be reached, or is ill; what
            is not settled is found out by the next push.
        WarehouseError: The folder is no warehouse.
    """
    policy = policy or Policy()
    if policy.on_conflict not in CONFLICT_POLICIES:
        raise EditError(f"{policy.on_conflict!r}: say {', '.join(CONFLICT_POLICIES)}")
    with Queue(root) as queue, _alone(root):
        things = _things(_chosen(queue, OPEN_STATES, chosen))[:limit]
        if not things:
            unsettled = len(_chosen(queue, LEFT_STATES, chosen))
            return PushReport(None, "partial" if unsettled else "complete", unsettled=unsettled)
        _check_server(things, credentials.base_url)
        state = State(root / "state.sqlite")
        try:
            known = Capabilities.from_json(state.capabilities(credentials.base_url))
            async with Client.open(
                credentials, capabilities=known, concurrency=concurrency, budget=budget
            ) as client:
                work = _Push(queue, client, policy, progress, dry_run=dry_run)
                try:
                    report = await work.run(things, concurrency)
                finally:
                    state.remember_capabilities(client.base_url, client.capabilities.to_json())
        finally:
            state.close()
            if not dry_run:
                show(root)
        report.unsettled = len(_chosen(queue, LEFT_STATES, chosen))
        if dry_run:
            settles = report.to_send + report.applied + report.held + report.dropped
            report.unsettled -= settles
        if report.unsettled and report.outcome == "complete":
            report.outcome = "partial"
        if report.push_id is not None:
            queue.end_push(report.push_id, report.outcome, report.requests)
        return report


def _chosen(
    queue: Queue, states: Sequence[str], chosen: Callable[[Target], bool] | None
) -> list[Entry]:
    """Returns the operations in some states on the things that are meant."""
    return [e for e in queue.entries(states) if chosen is None or chosen(e.target)]


def _check_server(things: Iterable[Iterable[Entry]], base_url: str) -> None:
    """Checks that edits go to the server that they were made for.

    Raises:
        EditError: They would not; names and ids mean something else on another one.
    """
    made_for = {e.edit.base_url: e for thing in things for e in thing if e.edit.base_url}
    for server, entry in made_for.items():
        if not is_same_server(base_url, server):
            raise EditError(
                f"edit {entry.edit.edit_id} was made for {server}, and would go to {base_url}: push"
                f" with --base-url {server}, or drop it and make it anew"
            )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds the queue for one push.

    Raises:
        LockedError: Another one is under way.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".push-lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(f"{root}: another push is under way; wait until it has ended") from None
    try:
        yield
    finally:
        lock.release()


def _things(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Returns operations by what they change; the versions of a collection are one thing.

    An alias goes from version to version, so its operations must be merged at once.
    """
    things: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        kind, entity, project, name = entry.target.key
        home = entry.target.collection if kind == "artifact" else name
        things.setdefault((kind, entity, project, home), []).append(entry)
    return sorted(things.values(), key=lambda thing: thing[0].target.key[:3])


def _chunks(things: Sequence[list[Entry]], size: Callable[[], int]) -> Iterator[list[list[Entry]]]:
    """Yields things of one kind and project, some at a time; `size` is asked for each chunk."""
    chunk: list[list[Entry]] = []
    for thing in things:
        is_alike = chunk and chunk[0][0].target.key[:3] == thing[0].target.key[:3]
        if chunk and (not is_alike or len(chunk) >= size()):
            yield chunk
            chunk = []
        chunk.append(thing)
    if chunk:
        yield chunk


class _Push:
    """One call of push."""

    def __init__(
        self,
        queue: Queue,
        client: Client,
        policy: Policy,
        progress: Callable[[int, int], None] | None,
        *,
        dry_run: bool,
    ) -> None:
        self._queue = queue
        self._client = client
        self._policy = policy
        self._progress = progress
        self._sender = None if dry_run else Sender(client)
        self._push_id = None if dry_run else queue.begin_push()
        self._report = PushReport(self._push_id)
        self._done = 0

    async def run(self, things: Sequence[list[Entry]], concurrency: int) -> PushReport:
        """Pushes things; returns the report."""
        report = self._report
        report.things = len(things)
        began = time.monotonic()
        size = CHUNK_THINGS
        chunks = _chunks(things, lambda: size)

        async def work() -> None:
            nonlocal size
            for chunk in chunks:
                op_ids = [entry.op_id for thing in chunk for entry in thing]
                settling = Settling(self._queue, self._client, self._policy, self._push_id, op_ids)
                await settling.run(self._sender, self._take)
                size = min(size, max(1, CHUNK_CHARS * len(chunk) // max(settling.chars, 1)))
                self._done += len(chunk)
                if self._progress is not None:
                    self._progress(self._done, len(things))

        outcome = "failed"
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(work())
            outcome = "complete"
        except BaseExceptionGroup as errors:
            error = _first(errors)
            if not isinstance(error, BudgetSpentError):
                raise error from errors
            outcome = "stopped"
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        finally:
            report.requests = self._client.meter.requests
            report.seconds = round(time.monotonic() - began, 3)
            report.outcome = outcome
            if self._push_id is not None and outcome != "complete":
                self._queue.end_push(self._push_id, outcome, report.requests)
        return report

    def _take(self, verdict: Verdict, state: str, reason: str | None) -> None:
        """Counts what became of an operation."""
        report, entry = self._report, verdict.entry
        if state == "applied" and entry.state == "sending":
            report.applied += 1
            return
        counter = {
            "applied": "held", "conflict": "conflicts", "failed": "failed", "pending": "left",
            "dropped": "dropped", "send": "to_send",
        }[state]  # fmt: skip
        setattr(report, counter, getattr(report, counter) + 1)
        outcome = "held" if state == "applied" else state
        operation = entry.operation
        report.told.append(
            Told(entry.op_id, str(operation.target), operation.label, outcome, reason)
        )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the first error in groups of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
