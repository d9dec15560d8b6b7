"""The three-way merge: what an edit was based on, what it makes of it, what W&B holds now.

The rules, field by field (docs/write-back.md has them as a table):

- Tags are a set. Adding and taking away commute with whatever others did: never a conflict.
- A text, a leaf, an alias or a state that W&B holds as the edit found it is changed.
- One that W&B holds as the edit wants it is left: equal changes are no conflict.
- Text is appended to whatever notes there are now.
- Anything else was changed on both sides: a conflict, and nothing is written.

Operations on one place are taken together, as a chain: W&B may hold what any of them makes.

Of what a push had begun to send when it was cut short, nobody knows what arrived. W&B tells: a
field that holds what was sent has arrived, one that holds what was there before has not. Where
someone has changed it since, other fields of the same mutation may tell; where nothing does, or
they contradict each other, it waits as a conflict, lest it be applied twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.errors import EditError, SpliceError
from wbsync.extract.values import parse_json, unwrap_config
from wbsync.writeback.leaves import json_text, leaf_at, with_leaf
from wbsync.writeback.operations import (
    MAX_METADATA_KEYS,
    MAX_VALUE_BYTES,
    MISSING,
    SETTABLE_STATES,
    Operation,
    Slot,
    apply,
    same,
)
from wbsync.writeback.splice import Spliced, set_leaf, text_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from wbsync.writeback.entries import Entry
    from wbsync.writeback.present import Present

UNKNOWN = (
    "a push that was cut short had begun to send it, and someone has changed the run since: whether"
    " it had arrived is unknown"
)

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an operation."""

    entry: Entry
    outcome: str
    """send (it must be written), held (W&B has it), conflict, refused (it never will be), wait,
    dropped (for theirs), or unknown (it may have arrived, and W&B does not say)."""
    before: Any = MISSING
    after: Any = MISSING
    theirs: Any = MISSING
    reason: str | None = None
    replaced: str | None = None
    made_from: int | None = None


@dataclass(slots=True)
class Merged:
    """What becomes of the operations on some things, and what is to be written of each."""

    verdicts: list[Verdict] = field(default_factory=list)
    values: dict[Key, dict[str, Any]] = field(default_factory=dict)
    """Target to fields to write: tags, texts and flags."""
    texts: dict[Key, dict[str, str]] = field(default_factory=dict)
    """Target to JSON fields to write, as texts."""
    leaves: dict[tuple[Key, str], dict[str, Any]] = field(default_factory=dict)
    """Target and JSON field to what it is to hold, of those that change."""
    holders: dict[Slot, tuple[Operation, str | None]] = field(default_factory=dict)
    """Alias to the operation that moves it, and who has it now."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a push may do where it is not plain."""

    on_conflict: str = "fail"
    """fail (wait), mine (write over what others changed) or theirs (drop the edit)."""
    force: bool = False
    """Whether config and summary of live runs are written."""


def merge(
    entries: Iterable[Entry],
    presents: Mapping[Key, Present],
    policy: Policy | None = None,
    acknowledged: Collection[int] = (),
    *,
    writes: bool = True,
) -> Merged:
    """Returns what becomes of operations.

    Args:
        entries: Open operations, in the order in which they were queued; all those on the aliases
            of a collection at once.
        presents: What W&B holds, by the key of the target.
        policy: What may be done; None does only what is plain.
        acknowledged: Operations in `sending` of which W&B has said that they were done.
        writes: Whether the texts to write are made; without, `leaves` tells what they would hold.
    """
    merging = _Merging(presents, policy or Policy(), writes=writes)
    there = [entry for entry in entries if merging.is_there(entry)]
    still_open = merging.settle_sent(there, acknowledged)
    for chain in _chains([entry for entry in still_open if merging.is_allowed(entry)]):
        merging.take(chain)
    return merging.finish()


def _chains(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Returns operations by place, in order.

    A change of a group of leaves stands between changes of a leaf in it: order counts there.
    """
    chains: list[list[Entry]] = []
    latest: dict[Slot, dict[tuple[str, ...], int]] = {}
    """Target and field to the places in it, each with the last of its chains."""
    for entry in entries:
        *head, path = entry.operation.slot
        of_field = latest.setdefault(tuple(head), {})
        at = of_field.get(path)
        if entry.operation.form == "leaf" and at is not None:
            later = (other for other, index in of_field.items() if index > at)
            if any(_overlap(other, path) for other in later):
                at = None
        if at is None:
            of_field[path] = at = len(chains)
            chains.append([])
        chains[at].append(entry)
    return chains


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    count = min(len(one), len(other))
    return one[:count] == other[:count]


def _parts(chains: Iterable[Sequence[Entry]]) -> list[list[Entry]]:
    """Returns the operations of a mutation by what it writes: groups with the leaves in them."""

    def place(chain: Sequence[Entry]) -> tuple[str, tuple[str, ...]]:
        return chain[0].operation.field, chain[0].operation.path

    parts: list[list[Entry]] = []
    group: tuple[str, tuple[str, ...]] | None = None
    for chain in sorted(chains, key=place):  # a group stands before what is in it
        name, path = place(chain)
        if group is None or group != (name, path[: len(group[1])]):
            group = (name, path)
            parts.append([])
        parts[-1] += chain
    return [sorted(part, key=lambda e: e.op_id) for part in parts]


@dataclass(frozen=True, slots=True)
class _Part:
    """What a mutation writes to one place, and what it makes there of what."""

    entries: Sequence[Entry]
    operation: Operation
    """An operation on the place; of a group and leaves in it one on the group."""
    before: Any
    after: Any

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> _Part:
        """Returns operations on one place, in their order."""
        place = min((e.operation for e in entries), key=lambda op: len(op.path))
        at = [i for i, e in enumerate(entries) if e.operation.path == place.path]
        before, after = entries[at[0]].before, entries[at[-1]].after
        depth = len(place.path)
        for entry in entries[at[-1] + 1 :]:
            after = _with_inner(after, entry.operation.path[depth:], entry.after)
        for entry in reversed(entries[: at[0]]):
            path = entry.operation.path[: entry.made_from]
            if len(path) > depth:
                before = _with_inner(before, path[depth:], entry.before)
            else:
                before = entry.before  # there was nothing: the leaf in it has made the group
        return cls(entries, place, before, after)

    @property
    def is_void(self) -> bool:
        """Whether it leaves all as it was: W&B cannot tell of it."""
        return same(self.before, self.after, self.operation.form)

    @property
    def is_harmless(self) -> bool:
        """Whether sending again what may have arrived can do nothing twice.

        A text or a leaf that is neither what was nor what was sent is a conflict in any case.
        """
        form = self.operation.form
        return form != "set" and all(e.operation.action != "append" for e in self.entries)


def _with_inner(group: Any, path: Sequence[str], value: Any) -> Any:
    """Returns a group with another leaf in it; what has no place for it stays."""
    if group is MISSING and value is not MISSING:
        group = {}
    try:
        return with_leaf(group, path, value) if isinstance(group, dict) else group
    except EditError:
        return group


class _Merging:
    """One merge."""

    def __init__(self, presents: Mapping[Key, Present], policy: Policy, *, writes: bool) -> None:
        self._writes = writes
        self._presents = presents
        self._policy = policy
        self._merged = Merged()
        self._leaves: dict[tuple[Key, str], dict[str, Any]] = {}
        """JSON fields as they are to be."""
        self._texts: dict[tuple[Key, str], str] = {}
        self._values: dict[Slot, Any] = {}
        """Everything else as it is to be, where it changes."""
        self._movers: dict[Slot, Operation] = {}

    def _say(self, entry: Entry, outcome: str, **facts: Any) -> None:
        self._merged.verdicts.append(Verdict(entry, outcome, **facts))

    def is_there(self, entry: Entry) -> bool:
        """Says whether what an operation changes is there and open to edits; if not, says why."""
        present = self._presents[entry.target.key]
        problem = present.problem_of(entry.target)
        if problem is None and entry.operation.field in present.broken:
            problem = f"{entry.operation.field} of {entry.target} is no JSON object"
        if present.is_ill and entry.state == "sending":
            self._say(entry, "unknown", reason=problem)
        elif problem is not None:
            self._say(entry, "wait" if present.is_ill else "refused", reason=problem)
        return problem is None

    def is_allowed(self, entry: Entry) -> bool:
        """Says whether an operation may be written now; if not, says why."""
        operation = entry.operation
        present = self._presents[operation.target.key]
        if operation.field in {"config", "summary"} and present.is_live and not self._policy.force:
            reason = (
                f"the run is {present.state}: its process may write its {operation.field} anew;"
                " push when it has ended, or with --force"
            )
            self._say(entry, "unknown" if entry.state == "sending" else "wait", reason=reason)
            return False
        if operation.field == "state" and (problem := _state_problem(operation, present)):
            self._say(entry, "refused", reason=problem)
            return False
        return True

    def settle_sent(self, entries: Sequence[Entry], acknowledged: Collection[int]) -> list[Entry]:
        """Settles what had arrived of what was being sent; returns what is still to be done."""
        groups: dict[Any, list[Entry]] = {}
        for entry in entries:
            if entry.state == "sending":
                groups.setdefault(mutation_of(entry), []).append(entry)
        settled: set[int] = set()
        for group in groups.values():
            parts = [_Part.of(chains) for chains in _parts(_chains(group))]
            found = [(part, self._arrival(part, acknowledged)) for part in parts]
            has_arrived = any(arrival is True for _, arrival in found)
            has_not = any(arrival is False for _, arrival in found)
            for part, arrival in found:
                is_acknowledged = all(entry.op_id in acknowledged for entry in part.entries)
                # What came to nothing is there, whether it arrived or not.
                is_there = part.is_void and self._holds(part, part.after)
                if is_there or arrival is True or (arrival is None and has_arrived):
                    for entry in part.entries:
                        self._say(
                            entry, "held", before=entry.before, after=entry.after,
                            replaced=entry.replaced, made_from=entry.made_from,
                        )  # fmt: skip
                elif (arrival is None and not has_not and not part.is_harmless) or (
                    has_arrived and not is_acknowledged
                ):
                    for entry in part.entries:
                        # Whoever retries it has it found out, and not done once more.
                        self._conflict(
                            entry, self._current(entry.operation), UNKNOWN, before=entry.before,
                            after=entry.after, replaced=entry.replaced, made_from=entry.made_from,
                        )  # fmt: skip
                else:
                    continue
                settled.update(entry.op_id for entry in part.entries)
        return [entry for entry in entries if entry.op_id not in settled]

    def _holds(self, part: _Part, value: Any) -> bool:
        """Says whether W&B holds a value where a part of a mutation writes; of tags, all of it."""
        form = part.operation.form
        current = self._current(part.operation)
        return same(current, value, form) or (
            form == "set" and not _tags_to_change(part.before, value, current)
        )

    def _arrival(self, part: _Part, acknowledged: Collection[int]) -> bool | None:
        """Says whether a part of a mutation has arrived; None where nothing tells."""
        operation, before, after = part.operation, part.before, part.after
        form = operation.form
        is_acknowledged = all(entry.op_id in acknowledged for entry in part.entries)
        if is_acknowledged and operation.field == "stop":
            return True  # not every server shows that it was asked to stop a run
        if part.is_void:
            return None
        current = self._current(operation)
        if same(current, after, form):
            return True
        if same(current, before, form):
            return False
        if is_acknowledged or self._holds(part, after):
            return True  # others changed other tags: whether ours are there is told one by one
        if _is_in_parts(operation):
            return False
        # Appended text alone may be a colleague's; behind what was there before, it is ours.
        is_text = operation.action == "append" and isinstance(current, str) and bool(after)
        if is_text and (after in current if before else current.startswith(after)):
            return True
        return None

    def _current(self, operation: Operation) -> Any:
        """Returns the value of a field, with what was taken before in this merge."""
        key = operation.target.key
        if operation.form == "leaf":
            place = (key, operation.field)
            if place not in self._leaves:
                self._leaves[place] = self._presents[key].leaves(operation.field)
            return leaf_at(self._leaves[place], operation.path)
        slot = operation.slot
        if slot in self._values:
            return self._values[slot]
        return self._presents[key].value_of(operation)

    def take(self, chain: Sequence[Entry]) -> None:
        """Merges operations on one place."""
        operation = chain[0].operation
        form = operation.form
        current = self._current(operation)
        if form == "set":
            for entry in chain:
                current = self._step(entry, current, apply(entry.operation, current))
            return
        if operation.field == "stop":
            is_live = self._presents[operation.target.key].is_live
            for entry in chain:
                current = self._step(entry, current if is_live else True, True)
            return
        steps = [operation.base]
        for entry in chain:
            steps.append(apply(entry.operation, steps[-1]))
        reached = [i for i, value in enumerate(steps) if same(current, value, form)]
        if not reached and form == "leaf":
            # What else changed it are operations of our own, on the group that it is in.
            held = self._presents[operation.target.key].value_of(operation)
            reached = [i for i, value in enumerate(steps) if same(held, value, form)]
        if reached:
            done = reached[-1]
            for entry in chain[:done]:
                self._say(entry, "held", before=current, after=current)
            for entry in chain[done:]:
                current = self._step(entry, current, apply(entry.operation, current))
        elif all(e.operation.action == "append" for e in chain):
            for entry in chain:
                current = self._step(entry, current, apply(entry.operation, current))
        elif self._policy.on_conflict == "mine":
            for entry in chain:
                current = self._step(
                    entry, current, apply(entry.operation, current), is_plain=False
                )
        else:
            for entry in chain:
                self._conflict(entry, current, "someone has changed it in W&B since")

    def _conflict(self, entry: Entry, current: Any, reason: str, **sent: Any) -> None:
        outcome = "dropped" if self._policy.on_conflict == "theirs" else "conflict"
        self._say(entry, outcome, theirs=current, reason=reason, **sent)

    def _step(self, entry: Entry, current: Any, wanted: Any, *, is_plain: bool = True) -> Any:
        """Takes one operation; returns the value after it."""
        operation = entry.operation
        before = current
        if entry.state == "sending" and _is_in_parts(operation):
            before = _without_change(entry, current)
        if same(current, wanted, operation.form):
            self._say(entry, "held", before=before, after=current)
            return current
        spliced = None
        if operation.form == "leaf":
            place = (operation.target.key, operation.field)
            try:
                leaves = with_leaf(self._leaves[place], operation.path, wanted)
                if self._writes:
                    spliced = self._splice(operation, wanted, restores=is_plain)
                    _check_spliced(operation, wanted, spliced.text, leaves)
            except (EditError, SpliceError) as error:
                self._conflict(entry, current, str(error))
                return current
            if spliced is not None:
                if reason := _too_much(operation, leaves, spliced.text):
                    self._say(entry, "refused", reason=reason)
                    return current
                self._texts[place] = spliced.text
            self._leaves[place] = self._merged.leaves[place] = leaves
        else:
            slot = operation.slot
            self._values[slot] = wanted
            self._movers[slot] = operation
        self._say(
            entry, "send", before=before, after=wanted,
            replaced=None if spliced is None else spliced.replaced,
            made_from=None if spliced is None else spliced.made_from,
        )  # fmt: skip
        return wanted

    def _splice(self, operation: Operation, wanted: Any, *, restores: bool) -> Spliced:
        place = (operation.target.key, operation.field)
        text = self._texts.get(place, self._presents[place[0]].texts[operation.field])
        value = None if wanted is MISSING else json_text(wanted)
        is_config = operation.field == "config"
        if restores and operation.restore is not None and value is not None:
            # All of a key can only stand where there is none; a leaf, wherever one can be.
            if not operation.restores_key:
                value = operation.restore
            elif text_at(text or "{}", operation.path[:1]) is None:
                return set_leaf(text, operation.path, operation.restore, is_config=is_config,
                                restores=True)  # fmt: skip
        return set_leaf(text, operation.path, value, is_config=is_config)

    def finish(self) -> Merged:
        """Returns what was found, with what is to be written."""
        merged = self._merged
        for (key, name), text in self._texts.items():
            if text != self._presents[key].texts[name]:
                merged.texts.setdefault(key, {})[name] = text
        for slot, value in self._values.items():
            operation = self._movers[slot]
            present = self._presents[operation.target.key]
            held = present.value_of(operation)
            if same(held, value, operation.form):
                continue
            if operation.form == "holder":
                merged.holders[slot] = (operation, held)
            else:
                merged.values.setdefault(operation.target.key, {})[operation.field] = value
        merged.verdicts.sort(key=lambda v: v.entry.op_id)
        return merged


def _check_spliced(operation: Operation, wanted: Any, text: str, leaves: Mapping[str, Any]) -> None:
    """Checks that W&B would show what is meant where it holds a text.

    Raises:
        SpliceError: It would show something else.
    """
    raw = parse_json(text)
    read = unwrap_config(raw) if operation.field == "config" else raw
    is_meant = same(leaf_at(read, operation.path), wanted) and (
        read == leaves or same(read, leaves)
    )
    if not is_meant:
        raise SpliceError(
            f"{operation.label} cannot be written so that W&B reads it as it is meant"
        )


def _too_much(operation: Operation, leaves: Mapping[str, Any], text: str) -> str | None:
    """Says what W&B would have against a JSON field as a whole, None for nothing."""
    if len(text) > MAX_VALUE_BYTES:
        return f"{operation.field} of {operation.target} would exceed the 10 MB that W&B takes"
    if operation.field == "metadata" and len(leaves) > MAX_METADATA_KEYS:
        return f"metadata of {operation.target} would have more than {MAX_METADATA_KEYS} keys"
    return None


def _state_problem(operation: Operation, present: Present) -> str | None:
    """Says why a run's state cannot be set, None where it can or is so already."""
    if present.state == operation.value:
        return None
    if present.is_of_sweep:
        return "the state of a sweep's run cannot be set"
    if present.state not in SETTABLE_STATES[operation.value]:
        return f"a run that is {present.state} cannot be set to {operation.value}"
    return None


def _is_in_parts(operation: Operation) -> bool:
    """Says whether an operation is several mutations, of which each arrives or does not."""
    return operation.target.kind == "artifact_collection" and operation.form == "set"


def _tags_to_change(before: Any, after: Any, held: Any) -> set[str]:
    """Returns the tags that are not yet as a change from one set to another makes them."""
    was, wanted, now = set(before or ()), set(after or ()), set(held or ())
    return ((wanted - was) - now) | ((was - wanted) & now)


def _without_change(entry: Entry, held: Sequence[str]) -> list[str]:
    """Returns tags as they would be, had nothing arrived of what was sent."""
    was, wanted = entry.before or (), entry.after or ()
    kept = [tag for tag in held if tag in was or tag not in wanted]
    return kept + [tag for tag in was if tag not in wanted and tag not in held]


def mutation_of(entry: Entry) -> Any:
    """Returns what tells mutations on their way apart: each arrives whole or not at all.

    What is sent at once came into its state at once; a field that was sent at another time tells
    nothing of this one.
    """
    operation = entry.operation
    target = operation.target
    place: Any = target.key
    if operation.form == "flag" or target.kind == "artifact_collection":
        place = (target.key, operation.field)
    elif operation.form == "holder":
        place = operation.slot
    return (entry.changed_at, place)
