"""The loop of a push over some operations, until each is settled or left."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from wbsync.api.client import wait_s
from wbsync.errors import WritebackError
from wbsync.writeback.entries import OPEN_STATES, Change, Entry
from wbsync.writeback.merge import Policy, Verdict, merge, mutation_of
from wbsync.writeback.present import read_present
from wbsync.writeback.sending import Refusal, Sender, build_calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wbsync.api import Client
    from wbsync.writeback.merge import Key
    from wbsync.writeback.queue import Queue

MAX_TRIES = 6
"""How often an operation is sent in one push before it is left to the next."""
PATIENCE_S = 10.0
"""How long a push waits for W&B to show what it says that it has done: reads may lag behind."""
MAX_UNSHOWN = timedelta(days=1)
"""How long W&B may not show it before it is believed that it never will."""
UNSHOWN = "W&B says that it was done, and does not show it yet; the next push looks again"
LEFT = "left"
"""What is to be left as it stands in the queue."""
AWAITED = "awaited"
"""What W&B says that it has done, and does not show yet."""
STATE_OF = {
    "held": "applied", "conflict": "conflict", "refused": "failed", "wait": "pending",
    "dropped": "dropped", "unknown": LEFT,
}  # fmt: skip


class Listener(Protocol):
    """Is told what becomes of each operation; `send` is a dry run's."""

    def __call__(self, verdict: Verdict, state: str, reason: str | None) -> None:
        """Takes note."""


class Settling:
    """Reads, merges, sends and reads again."""

    def __init__(
        self,
        queue: Queue,
        client: Client,
        policy: Policy,
        push_id: str | None,
        op_ids: Iterable[int],
    ) -> None:
        self._queue = queue
        self._client = client
        self._policy = policy
        self._push_id = push_id
        self._open = set(op_ids)
        self._answers: dict[int, Refusal | None] = {}
        """What W&B said to the operations that were sent last; None for no complaint."""
        self._tries: Counter[int] = Counter()
        self._waited_s = 0.0
        """How long it was waited for W&B to show what it has done."""
        self._on_their_way: dict[int, frozenset[int]] = {}
        """Operations that were sent without an answer to those of the mutation."""
        self.chars = 0
        """Size of the JSON fields that were read at once."""
        self._alone: set[Key] = set()
        """Things whose operations are sent one by one: W&B has refused them together."""

    async def run(self, sender: Sender | None, tell: Listener) -> None:
        """Settles the operations.

        Args:
            sender: Sends mutations; None only says what would be sent.
            tell: Told of each operation that is settled or left.

        Raises:
            ApiError: W&B cannot be read.
            WritebackError: W&B wrote something else than was meant.
        """
        for turn in count(1):
            entries = self._entries()
            if not entries:
                return
            if turn == 1:
                self._on_their_way = _mutations(entries)
            presents = await read_present(self._client, [e.operation for e in entries])
            texts = (text for present in presents.values() for text in present.texts.values())
            self.chars = max(self.chars, sum(map(len, texts)))
            nameless = {e.edit.edit_id for e in entries if e.edit.base_url is None}
            if nameless and sender is not None:
                self._queue.bind(nameless, self._client.base_url)
            acknowledged = [op for op, refusal in self._answers.items() if refusal is None]
            merged = merge(entries, presents, self._policy, acknowledged)
            if sender is None:
                for verdict in merged.verdicts:
                    state = STATE_OF.get(verdict.outcome, "send")
                    tell(verdict, "pending" if state == LEFT else state, verdict.reason)
                return
            decided = [(verdict, *self._decide(verdict)) for verdict in merged.verdicts]
            settled = [(v, state, why) for v, state, why in decided if state in STATE_OF.values()]
            sends = [v for v, state, _ in decided if state == "sending"]
            # What is split, awaited or given up after it was merged changes what is to be written.
            if any(state != "sending" for v, state, _ in decided if v.outcome == "send"):
                sends = []
            is_current = self._queue.transition(
                [
                    *(self._change(v, state, why) for v, state, why in settled if state != LEFT),
                    *(self._change(v, "sending", None) for v in sends),
                ],
                entries,
            )
            if not is_current:
                continue  # someone has dropped or resolved some of them meanwhile
            left = {v.entry.op_id: why for v, state, why in settled if state == LEFT and why}
            if left:
                self._queue.note(left)
            for verdict, state, why in settled:
                self._open.discard(verdict.entry.op_id)
                tell(verdict, "pending" if state == LEFT else state, why)
            if not sends:
                if any(state == AWAITED for _, state, _ in decided):
                    await self._be_patient()
                continue
            self._tries.update(v.entry.op_id for v in sends)
            answers = await sender.send(build_calls(merged, presents))
            self._answers |= answers
            self._take_back(sends, answers)
            self._stop_astray(sends, answers, tell)
            if any(refusal is not None and refusal.is_trouble for refusal in answers.values()):
                await asyncio.sleep(wait_s(min(turn, 4), None))

    async def _be_patient(self) -> None:
        """Waits for W&B to show what it has done, longer each time."""
        pause_s = min(max(0.1, self._waited_s), PATIENCE_S - self._waited_s)
        self._waited_s += pause_s
        await asyncio.sleep(pause_s)

    def _take_back(
        self, sends: Sequence[Verdict], answers: Mapping[int, Refusal | None]
    ) -> None:  # fmt: skip
        """Has what W&B has refused wait as if it had never been sent: none of it has arrived.

        What is then sent one by one would else be taken for what may have arrived together. What
        was sent in another mutation before, of which nobody knows, may still arrive: it stays.
        """
        refused = []
        for verdict in sends:
            op_id = verdict.entry.op_id
            if op_id not in answers:
                continue  # it was not sent, as the push was stopped before
            refusal, before = answers[op_id], self._on_their_way.get(op_id)
            if refusal is None:
                self._on_their_way.pop(op_id, None)
            elif not refusal.is_final:
                self._on_their_way[op_id] = refusal.op_ids
            elif (
                not refusal.is_astray
                and not refusal.is_partial
                and before in (None, refusal.op_ids)
            ):
                self._on_their_way.pop(op_id, None)
                refused.append(Change(op_id, "pending", push_id=self._push_id))
        if refused:
            self._queue.transition(refused)

    def _stop_astray(
        self, sends: Sequence[Verdict], answers: Mapping[int, Refusal | None], tell: Listener
    ) -> None:
        """Fails what W&B wrote elsewhere, and ends the push.

        Raises:
            WritebackError: It did.
        """
        lost = [
            (verdict, refusal)
            for verdict in sends
            if (refusal := answers.get(verdict.entry.op_id)) is not None and refusal.is_astray
        ]
        if not lost:
            return
        self._queue.transition(self._change(v, "failed", r.reason) for v, r in lost)
        for verdict, refusal in lost:
            self._open.discard(verdict.entry.op_id)
            tell(verdict, "failed", refusal.reason)
        verdict, refusal = lost[0]
        raise WritebackError(f"{verdict.entry.target}: {refusal.reason}; the push has stopped")

    def _entries(self) -> list[Entry]:
        """Returns the operations that are not settled yet, of things that are split the first."""
        entries = self._queue.entries(OPEN_STATES, op_ids=self._open) if self._open else []
        return list(_one_each(entries, self._alone))

    def _decide(self, verdict: Verdict) -> tuple[str, str | None]:
        """Returns what state an operation comes into, or `split` or `awaited`, and why."""
        entry = verdict.entry
        if verdict.outcome != "send":
            return STATE_OF[verdict.outcome], verdict.reason
        refusal = self._answers.get(entry.op_id)
        if refusal is not None and refusal.is_final:
            if not refusal.is_shared:
                return "failed", refusal.reason
            self._alone.add(entry.target.key)
            del self._answers[entry.op_id]
            return "split", None
        if self._was_done(entry):
            if self._waited_s < PATIENCE_S:
                return AWAITED, None
            if datetime.now(UTC) - self._queue.first_sent(entry.op_id) < MAX_UNSHOWN:
                return LEFT, UNSHOWN
            return "failed", "W&B says that it was done, and has not shown it for a day"
        if self._tries[entry.op_id] >= MAX_TRIES:
            reason = refusal.reason if refusal is not None else "W&B does not show it"
            return ("pending" if entry.state == "pending" else LEFT), reason
        return "sending", None

    def _was_done(self, entry: Entry) -> bool:
        """Says whether W&B has said that it did what was sent last."""
        return entry.op_id in self._answers and self._answers[entry.op_id] is None

    def _change(self, verdict: Verdict, state: str, reason: str | None) -> Change:
        sent: Verdict | Entry = verdict
        if state == "failed":
            # Of what may have arrived, a retry is to find out.
            sent = verdict.entry
        return Change(
            verdict.entry.op_id, state, reason, sent.before, sent.after, verdict.theirs,
            sent.replaced, sent.made_from, self._push_id,
        )  # fmt: skip


def _mutations(entries: Iterable[Entry]) -> dict[int, frozenset[int]]:
    """Returns what is on its way, each with the operations of the mutation."""
    groups: dict[Any, list[int]] = {}
    for entry in entries:
        if entry.state == "sending":
            groups.setdefault(mutation_of(entry), []).append(entry.op_id)
    return {op_id: frozenset(group) for group in groups.values() for op_id in group}


def _one_each(entries: Sequence[Entry], alone: set[Key]) -> Iterator[Entry]:
    """Yields operations, of some things only the first."""
    seen: set[Key] = set()
    for entry in entries:
        key = entry.target.key
        if key in alone and key in seen:
            continue
        seen.add(key)
        yield entry
