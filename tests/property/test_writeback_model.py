"""Edits, colleagues, syncs, pushes, faults and undos in any order: a model and W&B agree.

The model knows the written rules and nothing of the code. At each rest, that is after each push,
the runs on the server and the states of all operations are what the model says.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import wbsync
from wbsync.errors import EditError
from wbsync.lake import open_warehouse
from wbsync.sandbox.process import Sandbox
from wbsync.settings import resolve_credentials
from wbsync.writeback import MISSING, Edit, Operation, Queue, Target
from wbsync.writeback.merge import Policy
from wbsync.writeback.push import push
from wbsync.writeback.undo import undo

if TYPE_CHECKING:
    from collections.abc import Callable

IS_LONG = bool(os.environ.get("WBSYNC_LONG"))
RUNS = ("r", "s")
PLACES = ("notes", "name", "lr", "opt.m", "opt.x", "acc")
LEAVES = {
    "lr": ("config", ("lr",)), "opt.m": ("config", ("opt", "m")),
    "opt.x": ("config", ("opt", "x")), "acc": ("summary", ("acc",)),
}  # fmt: skip
TEXTS = {"notes": "notes", "name": "display_name"}
VALUES = st.sampled_from([0, 1, 2**60 + 1, "x ☃", None, True, [1], {"k": 1}])
WORDS = st.sampled_from(["n", "m", "☃", "x y"])
TAGS = st.sampled_from(["a", "b", "c"])

_numbers = count()


@dataclass(eq=False)
class Op:
    """An operation as the model knows it."""

    run: str
    place: str
    action: str
    value: Any
    base: Any
    state: str = "pending"
    before: Any = None
    after: Any = None
    theirs: Any = None
    replaced: Any = None
    """The key of config that it took away, with its wrapping."""
    restore: Any = None
    """The key of config that it brings back."""
    takes_back: Op | None = None


def write(documents: dict[str, Any], place: str, value: Any, restore: Any = None) -> Any:
    """Writes a leaf as the rules say, which leave all else as it is; returns a key that goes."""
    if place == "lr":
        config = documents["config"]
        if value is MISSING:
            return config.pop("lr")
        if "lr" in config:
            config["lr"]["value"] = value
        else:
            config["lr"] = restore or {"value": value, "desc": None}
        return None
    holder = documents["summary"] if place == "acc" else documents["config"]["opt"]["value"]
    key = place.rpartition(".")[2]
    if value is MISSING:
        del holder[key]
    else:
        holder[key] = value
    return None


def raw(document: dict[str, Any]) -> str:
    """Returns the text that W&B is to hold, to the byte."""
    return json.dumps(document, ensure_ascii=False).replace('"_wandb": 0', f'"_wandb": {INTERNAL}')


def effect(op: Op, value: Any) -> Any:
    """Returns what an operation makes of a value."""
    if op.action == "add":
        return value | {op.value}
    if op.action == "remove":
        return value - {op.value}
    if op.action == "append":
        return value + op.value
    return MISSING if op.action == "unset" else op.value


def equal(one: Any, other: Any) -> bool:
    """Says whether two values are the same; True is not 1."""
    return repr(one) == repr(other) if not isinstance(one, set) else one == other


def start_of(chain: list[Op], held: Any) -> int | None:
    """Returns how many operations on one place are done by what is held; None for a conflict."""
    if chain[0].place == "tags":
        return 0
    steps = [chain[0].base]
    for op in chain:
        steps.append(effect(op, steps[-1]))
    found = [i for i, value in enumerate(steps) if equal(value, held)]
    is_free = all(op.action == "append" for op in chain)
    return max(found) if found else 0 if is_free else None


class Writeback(RuleBasedStateMachine):
    """One project, two runs, one queue."""

    sandbox: ClassVar[Sandbox]
    account_of: ClassVar[Callable[..., Any]]
    has_syncs: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.project = f"p{next(_numbers)}"
        self.account = self.account_of(self.sandbox)
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "w"
        self.credentials = resolve_credentials(self.sandbox.api_key, self.sandbox.base_url)
        self.remote: dict[str, dict[str, Any]] = {}
        self.documents: dict[str, dict[str, Any]] = {}
        """Run to its config and summary as W&B holds them, with all wrapping and in their order."""
        self.targets: dict[str, Target] = {}
        for run in RUNS:
            self.remote[run] = {
                "tags": {"a"}, "notes": "n", "name": "d", "lr": 0, "opt.m": 1, "opt.x": MISSING,
                "acc": MISSING,
            }  # fmt: skip
            self.documents[run] = {"config": copy.deepcopy(CONFIG), "summary": {}}
            made = self.insist(
                lambda run=run: self.account.upsert(
                    self.project, run, state="finished", tags=["a"], notes="n", displayName="d"
                )
            )
            self.targets[run] = Target("run", "sandbox", self.project, run, made["id"])
            self.rewrite_documents(run)
        open_warehouse(self.root)
        self.warehouse = wbsync.open(self.root)
        self.seen: dict[str, dict[str, Any]] = {}
        self.ops: list[Op] = []
        self.sync()
        self.queue = Queue(self.root)
        self.pushes: list[str] = []
        self.undone: set[int] = set()

    def teardown(self) -> None:
        """Pushes once more, so that each example ends with a comparison."""
        self.push()
        self.queue.close()
        self.warehouse.close()
        self.account.close()
        self.folder.cleanup()

    def insist(self, act: Callable[[], Any]) -> Any:
        """Does what the weather may spoil until it works."""
        for _ in range(60):
            try:
                return act()
            except Exception as error:  # noqa: BLE001
                last = error
        raise last

    # What the person at the laptop does

    @rule()
    def sync(self) -> None:
        """Takes note of what W&B holds."""
        self.seen = {run: dict(values) for run, values in self.remote.items()}
        if not self.has_syncs:
            return

        def act() -> None:
            done = self.warehouse.sync(
                f"sandbox/{self.project}", api_key=self.sandbox.api_key,
                base_url=self.sandbox.base_url, only=["runs", "run_config"],
            )  # fmt: skip
            assert done.outcome == "complete"

        self.insist(act)
        rows = self.warehouse.sql(
            "SELECT run_id, tags, notes, display_name, config, summary FROM runs"
        ).fetchall()
        shown = {}
        for run, tags, notes, name, config, summary in rows:
            read, opt = json.loads(config), json.loads(config).get("opt", {})
            shown[run] = {
                "tags": set(json.loads(tags)), "notes": notes or "", "name": name,
                "lr": read.get("lr", MISSING), "opt.m": opt.get("m", MISSING),
                "opt.x": opt.get("x", MISSING), "acc": json.loads(summary).get("acc", MISSING),
            }  # fmt: skip
        for run, values in shown.items():
            for place, value in values.items():
                assert equal(value, self.shown(run, place)), (run, place)

    def shown(self, run: str, place: str) -> Any:
        """Returns what a person sees: what was synced, with those edits over it that merge."""
        value = self.seen[run][place]
        chain = [o for o in self.ops if (o.run, o.place, o.state) == (run, place, "pending")]
        start = start_of(chain, value) if chain else 0
        for op in chain[start:] if start is not None else ():
            value = effect(op, value)
        return value

    def queue_op(self, op: Op) -> None:
        """Queues an operation, and notes what the rules say of that."""
        target = self.targets[op.run]
        if op.place == "tags":
            real = Operation(target, "tags", op.action, op.value, sorted(op.base))
        elif op.place in TEXTS:
            real = Operation(target, TEXTS[op.place], op.action, op.value, op.base)
        else:
            field, path = LEAVES[op.place]
            real = Operation(target, field, op.action, op.value, op.base, path)
        queued = self.queue.add(Edit("me"), [real])
        assert queued == (not equal(effect(op, op.base), op.base))
        waiting = self.conflicts(op.run, op.place)
        if waiting and equal(waiting[-1].theirs, op.base):
            for other in waiting:  # what sets just what W&B holds settles them, too
                other.state = "dropped"
        if queued:
            self.ops.append(op)

    def conflicts(self, run: str, place: str) -> list[Op]:
        """Returns what waits in conflict on a place; tags never do."""
        return [o for o in self.ops if (o.run, o.place, o.state) == (run, place, "conflict")]

    @rule(run=st.sampled_from(RUNS), tag=TAGS, adds=st.booleans())
    def tag(self, run: str, tag: str, adds: bool) -> None:
        """Adds or takes a tag."""
        action = "add" if adds else "remove"
        self.queue_op(Op(run, "tags", action, tag, set(self.shown(run, "tags"))))

    @rule(run=st.sampled_from(RUNS), place=st.sampled_from(tuple(TEXTS)), text=WORDS)
    def write(self, run: str, place: str, text: str) -> None:
        """Sets notes or the name."""
        self.queue_op(Op(run, place, "set", text, self.shown(run, place)))

    @rule(run=st.sampled_from(RUNS), text=WORDS)
    def append(self, run: str, text: str) -> None:
        """Appends to the notes."""
        self.queue_op(Op(run, "notes", "append", text, self.shown(run, "notes")))

    @rule(
        run=st.sampled_from(RUNS), place=st.sampled_from(tuple(LEAVES)),
        value=st.one_of(VALUES, st.just(MISSING)),
    )  # fmt: skip
    def set_leaf(self, run: str, place: str, value: Any) -> None:
        """Sets a leaf, or takes it away."""
        action = "unset" if value is MISSING else "set"
        self.queue_op(Op(run, place, action, value, self.shown(run, place)))

    @precondition(lambda self: any(o.state == "conflict" for o in self.ops))
    @rule(value=VALUES, text=WORDS)
    def answer(self, value: Any, text: str) -> None:
        """Edits what is in conflict, having looked at what W&B holds."""
        last = next(o for o in reversed(self.ops) if o.state == "conflict")
        wanted = text if last.place in TEXTS else value
        self.queue_op(Op(last.run, last.place, "set", wanted, last.theirs))

    @precondition(lambda self: any(o.state == "conflict" for o in self.ops))
    @rule(side=st.sampled_from(["mine", "theirs"]))
    def resolve(self, side: str) -> None:
        """Settles all conflicts for one side."""
        waiting = [(i, o) for i, o in enumerate(self.ops, 1) if o.state == "conflict"]
        self.queue.resolve([i for i, _ in waiting], side)
        for _, op in waiting:
            op.state = "pending" if side == "mine" else "dropped"
            op.base = op.theirs

    @rule(policy=st.sampled_from(["fail", "fail", "mine", "theirs"]))
    def push(self, policy: str = "fail") -> None:
        """Pushes until the weather lets it end; then all is as the rules say."""

        def act() -> None:
            report = asyncio.run(push(self.root, self.credentials, policy=Policy(policy)))
            if report.push_id is not None:
                ids.append(report.push_id)
            if any(self.queue.counts()[s] for s in ("pending", "sending")):
                raise ConnectionError

        ids: list[str] = []
        self.insist(act)
        self.merge(policy)
        self.compare()
        self.pushes += ids

    def merge(self, policy: str) -> None:
        """Does what the rules say."""
        chains: dict[tuple[str, str], list[Op]] = {}
        for op in self.ops:
            if op.state == "pending":
                chains.setdefault((op.run, op.place), []).append(op)
        for chain in chains.values():
            self.merge_chain(chain, policy)

    def merge_chain(self, chain: list[Op], policy: str) -> None:
        """Merges operations on one place."""
        run, place = chain[0].run, chain[0].place
        held = self.remote[run][place]
        start = start_of(chain, held)
        is_plain = start is not None
        if not is_plain and policy != "mine":
            for op in chain:
                op.state, op.theirs = ("dropped" if policy == "theirs" else "conflict"), held
            return
        start = start or 0
        for op in chain[:start]:
            op.state, op.before, op.after = "applied", held, held
        for op in chain[start:]:
            op.before, held = held, effect(op, held)
            op.state, op.after = "applied", held
            if place in LEAVES and not equal(op.before, held):
                restore = op.restore if is_plain else None
                op.replaced = write(self.documents[run], place, held, copy.deepcopy(restore))
        self.remote[run][place] = held

    @precondition(lambda self: self.pushes)
    @rule()
    def undo(self) -> None:
        """Takes back the last push that changed something."""
        applied = {e.op_id: e for e in self.queue.entries(["applied"])}
        last = next((p["push_id"] for p in self.queue.pushes() if p["applied"]), None)
        if last is None:
            return
        mine = [i for i, e in applied.items() if e.push_id == last]
        try:
            undone = undo(self.queue, None, "me")
        except EditError as error:
            assert "already" in str(error)  # noqa: PT017
            assert any(self.is_taken_back(self.ops[i - 1]) for i in mine)
            return
        queued = 0
        for index in reversed(mine):
            op = self.ops[index - 1]
            if equal(op.before, op.after) or self.is_taken_back(op):
                continue
            queued += 1
            back = {"add": "remove", "remove": "add"}.get(op.action, "set")
            value = op.value if op.place == "tags" else op.before
            if value is MISSING:
                back = "unset"
            restore = copy.deepcopy(op.replaced)
            self.ops.append(
                Op(op.run, op.place, back, value, op.after, restore=restore, takes_back=op)
            )
        assert undone.queued == queued

    def is_taken_back(self, op: Op) -> bool:
        """Says whether an undo of an operation is in force."""
        return any(
            undo.takes_back is op and undo.state != "dropped" and not self.is_taken_back(undo)
            for undo in self.ops
        )

    # What a colleague does

    @rule(run=st.sampled_from(RUNS), tags=st.sets(TAGS))
    def retag(self, run: str, tags: set[str]) -> None:
        """Sets the tags."""
        self.insist(lambda: self.account.edit(self.project, run, tags=sorted(tags)))
        self.remote[run]["tags"] = set(tags)

    @rule(run=st.sampled_from(RUNS), place=st.sampled_from(tuple(TEXTS)), text=WORDS)
    def rewrite(self, run: str, place: str, text: str) -> None:
        """Sets the notes or the name."""
        field = {"notes": "notes", "name": "displayName"}[place]
        self.insist(lambda: self.account.edit(self.project, run, **{field: text}))
        self.remote[run][place] = text

    @rule(
        run=st.sampled_from(RUNS), place=st.sampled_from(tuple(LEAVES)),
        value=st.one_of(VALUES, st.just(MISSING)),
    )  # fmt: skip
    def reset(self, run: str, place: str, value: Any) -> None:
        """Sets a leaf, or takes it away."""
        if value is MISSING and self.remote[run][place] is MISSING:
            return
        self.remote[run][place] = value
        theirs = {"desc": "theirs", "value": value}
        write(self.documents[run], place, value, theirs)
        self.rewrite_documents(run)

    def rewrite_documents(self, run: str) -> None:
        """Writes config and summary whole, as others do."""
        documents = self.documents[run]
        self.insist(
            lambda: self.account.change(
                "upsertBucket", "UpsertBucketInput", "inserted", id=self.targets[run].storage_id,
                config=raw(documents["config"]), summaryMetrics=raw(documents["summary"]),
            )
        )  # fmt: skip

    # What must hold

    def compare(self) -> None:
        """Compares the server and the queue with the model."""
        assert [e.state for e in self.queue.entries()] == [o.state for o in self.ops]
        for run in RUNS:
            held = self.insist(
                lambda run=run: self.account.run(
                    self.project, run, "tags notes displayName config summaryMetrics"
                )
            )
            values = self.remote[run]
            assert set(held["tags"]) == values["tags"]
            assert (held["notes"], held["displayName"]) == (values["notes"], values["name"])
            assert held["config"] == raw(self.documents[run]["config"])
            assert held["summaryMetrics"] == raw(self.documents[run]["summary"])


INTERNAL = '{"value":{"t" : {"1": [1,2]}, "e": 1e-3, "n": 1.0E5}}'
"""W&B's own part of a config, as no program of ours would write it."""
CONFIG: dict[str, Any] = {
    "_wandb": 0, "lr": {"desc": None, "value": 0}, "opt": {"desc": "d", "value": {"m": 1}},
    "kept": {"value": [2**60, "é"], "extra": 1},
}  # fmt: skip

WEATHERS = {
    "calm": ([], True),
    "bad": (["--fault-rate", "0.1", "--hang", "0.05", "--seed", "3"], False),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("weather", sorted(WEATHERS))
def test_the_model_and_wandb_agree(weather: str, account_of: Callable[..., Any]) -> None:
    """Whatever was done before, by whom, and in which weather."""
    options, has_syncs = WEATHERS[weather]
    examples = {"calm": (3, 200), "bad": (8, 600)}[weather][IS_LONG]
    with Sandbox(options=options) as sandbox:
        machine = type(
            "Machine",
            (Writeback,),
            {"sandbox": sandbox, "account_of": staticmethod(account_of), "has_syncs": has_syncs},
        )
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=60 if IS_LONG else 25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                derandomize=not IS_LONG,
                database=None,
            ),
        )
