"""Operations and the queue: what is accepted is kept, once, and what W&B would refuse is not."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.errors import EditError
from wbsync.lake import open_warehouse
from wbsync.writeback import MISSING, Edit, Operation, Queue, Target
from wbsync.writeback.checking import check
from wbsync.writeback.entries import Change
from wbsync.writeback.leaves import json_text, resolve_path, with_leaf
from wbsync.writeback.merge import mutation_of
from wbsync.writeback.operations import apply, changes, inverse, same
from wbsync.writeback.undo import undo

if TYPE_CHECKING:
    from pathlib import Path

RUN = Target("run", "team", "p", "r1", "UnVuOnYx", "2026-01-02T03:04:05Z")
VERSION = Target("artifact", "team", "p", "data:v3", "QXJ0OjM=")


def leaf(value: Any, base: Any = MISSING, *path: str) -> Operation:
    """Returns a change of a leaf of config."""
    return Operation(RUN, "config", "set", value, base, path or ("lr",))


@pytest.fixture
def queue(tmp_path: Path) -> Any:
    """Returns the queue of an empty warehouse."""
    open_warehouse(tmp_path / "w")
    with Queue(tmp_path / "w") as opened:
        yield opened


@pytest.mark.parametrize(
    "tag",
    ["x", "a" * 64, "🦊" * 64, 'it\'s "quoted"', "two\nlines", "größe ☃", "-- ; DROP TABLE runs"],
)
def test_a_tag_that_wandb_takes_is_taken(tag: str) -> None:
    """Quotes, newlines and emoji are nothing special; 64 characters are enough."""
    check(Operation(RUN, "tags", "add", tag, []))


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation(RUN, "tags", "add", "a" * 65, []), "1 to 64 characters"),
        (Operation(RUN, "tags", "add", "🦊" * 65, []), "has 65"),
        (Operation(RUN, "tags", "add", "", []), "1 to 64"),
        (Operation(RUN, "tags", "add", " x", []), "spaces"),
        (Operation(RUN, "tags", "add", "x\n", []), "spaces"),
        (Operation(RUN, "tags", "set", "abc", []), "list"),
        (Operation(RUN, "tags", "add", 3, []), "text"),
        (Operation(RUN, "tags", "add", "a\0", []), "stored"),
        (Operation(RUN, "notes", "set", "\ud800", ""), "stored"),
        (Operation(RUN, "display_name", "set", " ", "x"), "empty name"),
        (Operation(RUN, "state", "set", "finished", "running"), "pending or failed"),
        (Operation(RUN, "stop", "set", False, True), "started again"),
        (Operation(RUN, "config", "set", 1), "name a leaf"),
        (leaf(1, MISSING, "_wandb", "value"), "W&B's own"),
        (leaf(1, MISSING, ""), "empty"),
        (leaf(object()), "nothing that JSON holds"),
        (leaf({1: 2}), "text, not int"),
        (leaf("x" * 10_000_001), "10 MB"),
        (Operation(RUN, "config", "unset", 1, 1, ("lr",)), "no value"),
        (Operation(RUN, "config", "add", 1, 1, ("lr",)), "set and unset"),
        (Operation(RUN, "created_at", "set", "x", "y"), "cannot be edited"),
        (Operation(RUN, "notes", "set", "x", "y", ("z",)), "no leaves"),
        (Operation(VERSION, "aliases", "add", "v4", None, ("v4",)), "version's own"),
        (Operation(VERSION, "aliases", "add", "a/b", None, ("a/b",)), "neither"),
        (Operation(VERSION, "aliases", "add", "a" * 129, None, ("a" * 129,)), "1 to 128"),
        (Operation(VERSION, "tags", "add", "a,b", []), "letters, digits"),
        (Operation(VERSION, "metadata", "set", math.nan, 1, ("a",)), "no nan"),
        (Operation(VERSION, "metadata", "set", {"a": [math.inf]}, 1, ("a",)), "no inf"),
    ],
)  # fmt: skip
def test_what_wandb_would_refuse_is_refused_before_it_is_queued(
    queue: Queue, operation: Operation, words: str
) -> None:
    """The message says why, and nothing of the edit is queued."""
    good = Operation(RUN, "tags", "add", "good", [])
    with pytest.raises(EditError, match=words):
        queue.add(Edit("me"), [good, operation])
    assert queue.entries() == []
    assert queue.edits() == []


@pytest.mark.parametrize(
    "operation",
    [
        leaf(2**60 + 1, 0.1, "a.b", "c d"),
        leaf(math.nan, -math.inf),
        leaf({"x": [1, {"y": None}], "é": "☃"}, None),
        Operation(RUN, "config", "unset", base=[], path=("x",)),
        Operation(RUN, "tags", "set", ["b", "a"], ["a\n"]),
        Operation(VERSION, "aliases", "add", "best", "QXJ0OjI=", ("best",)),
    ],
)
def test_an_operation_survives_the_queue_and_json(queue: Queue, operation: Operation) -> None:
    """Values keep their type and every digit; what is missing stays apart from null."""
    queue.add(Edit("me", why="because", command="x"), [operation])
    held = queue.entries()[0]
    assert repr(held.operation) == repr(operation)
    again = Operation.from_json(operation.to_json())
    assert same(again.value, operation.value)
    assert same(again.base, operation.base)
    assert (again.target, again.path, again.action) == (
        operation.target, operation.path, operation.action,
    )  # fmt: skip
    assert held.edit.why == "because"


def test_an_edit_that_changes_nothing_is_not_queued(queue: Queue) -> None:
    """Neither as a whole nor in part."""
    idle = [
        Operation(RUN, "tags", "add", "a", ["a"]), Operation(RUN, "tags", "remove", "b", ["a"]),
        Operation(RUN, "tags", "set", ["b", "a"], ["a", "b"]), leaf(1, 1.0), leaf("NaN", math.nan),
        Operation(RUN, "notes", "set", "", None), Operation(RUN, "config", "unset", path=("x",)),
        Operation(VERSION, "aliases", "add", "best", VERSION.storage_id, ("best",)),
    ]  # fmt: skip
    assert not any(map(changes, idle))
    assert queue.add(Edit("me"), idle) == 0
    assert queue.edits() == []
    assert queue.add(Edit("me"), [*idle, leaf(True, 1)]) == 1


def test_an_inverse_takes_back_what_was_done_and_no_more() -> None:
    """Of each kind; what was taken away comes back as it was."""
    cases = [
        (Operation(RUN, "tags", "add", "b", ["a"]), ["a"]),
        (Operation(RUN, "tags", "remove", "a", ["a", "c"]), ["a", "c"]),
        (Operation(RUN, "tags", "set", ["x"], ["a", "c"]), ["a", "c"]),
        (Operation(RUN, "notes", "append", " x", "n"), "n"),
        (Operation(RUN, "group", "set", "x", None), None),
        (leaf(2, MISSING), MISSING),
        (leaf(2, None), None),
        (Operation(RUN, "config", "unset", base={"a": 1}, path=("x",)), {"a": 1}),
        (Operation(VERSION, "aliases", "add", "best", None, ("best",)), None),
        (Operation(VERSION, "aliases", "remove", "best", VERSION.storage_id, ("best",)),
         VERSION.storage_id),
    ]  # fmt: skip
    for operation, before in cases:
        after = apply(operation, before)
        undo = inverse(operation, before, after)
        check(undo)
        assert same(apply(undo, after), before, operation.form), operation
    moved = Operation(VERSION, "aliases", "add", "best", "QXJ0OjI=", ("best",))
    undo = inverse(moved, "QXJ0OjI=", VERSION.storage_id)
    assert (undo.target.storage_id, undo.action, undo.base) == ("QXJ0OjI=", "add", "QXJ0OjM=")
    with pytest.raises(EditError):
        inverse(Operation(RUN, "stop", "set", True, False), False, True)


def test_a_dotted_name_means_the_leaf_that_is_there() -> None:
    """Literal dots, nesting and mixtures of both are found; a new leaf joins its group."""
    values = {"a.b": {"c": 1}, "a": {"b": {"d": 2}, "e.f": 3}, "x": 4}
    assert resolve_path(values, "a.b.c") == ("a.b", "c")
    assert resolve_path(values, "a.b.d") == ("a", "b", "d")
    assert resolve_path(values, "a.e.f") == ("a", "e.f")
    assert resolve_path(values, "a.new") == ("a", "new")
    assert resolve_path(values, "n.m") == ("n", "m")
    with pytest.raises(EditError, match="x is a value"):
        with_leaf(values, ("x", "y"), 1)


def test_json_for_wandb_is_json() -> None:
    """Non-finite numbers go as W&B writes them, big integers with all their digits."""
    text = json_text({"a": (math.nan, -math.inf, [math.inf]), "b": 2**60 + 1})
    assert text == '{"a": ["NaN", "-Infinity", ["Infinity"]], "b": 1152921504606846977}'


def test_states_attempts_and_the_log(queue: Queue) -> None:
    """Every change of state is kept with its time, push and reason."""
    queue.add(Edit("me", edit_id="e1"), [leaf(1), leaf(2, 1, "x")])
    first, second = (e.op_id for e in queue.entries())
    push = queue.begin_push()
    queue.transition([Change(first, "sending", before=MISSING, after=1, push_id=push)])
    assert queue.entries(["sending"])[0].attempts == 1
    with pytest.raises(EditError, match="push first"):
        queue.drop([first])
    queue.transition([Change(first, "applied", before=MISSING, after=1, push_id=push)])
    queue.transition([Change(second, "conflict", "both", theirs=9, push_id=push)])
    queue.end_push(push, "partial", 3)
    assert queue.counts() | {"applied": 1, "conflict": 1} == queue.counts()
    assert queue.entries(["conflict"])[0].theirs == 9
    assert queue.resolve([second], "mine") == 1
    assert queue.entries(["pending"])[0].operation.base == 9
    with pytest.raises(EditError, match="no operation 99"):
        queue.retry([99])
    assert queue.drop([second]) == 1
    assert [line["to_state"] for line in queue.log(op_ids=[second])] == [
        "pending", "conflict", "pending", "dropped",
    ]  # fmt: skip
    assert queue.log(op_ids=[second])[1]["error"] == "both"
    assert queue.pushes()[0] | {"outcome": "partial", "requests": 3} == queue.pushes()[0]
    assert queue.edits()[0][1] == {"applied": 1, "dropped": 1}


def test_what_was_decided_of_an_older_state_moves_nothing(queue: Queue) -> None:
    """Whether its state, its attempts or its base is another one now; also nothing beside it."""
    queue.add(Edit("me"), [leaf(1, "é🦊"), leaf(2, MISSING, "x")])
    seen = queue.entries()
    first, second = (e.op_id for e in seen)
    assert queue.transition([Change(second, "conflict", theirs=5)], seen)
    lines = len(queue.log())
    assert not queue.transition([Change(first, "sending"), Change(second, "sending")], seen)
    assert [e.state for e in queue.entries()] == ["pending", "conflict"]
    assert len(queue.log()) == lines
    queue.resolve([second], "mine")
    assert not queue.transition([Change(second, "sending")], seen)
    assert queue.transition([Change(second, "sending")], queue.entries())


def test_what_was_built_on_a_dropped_edit_stands_on_its_base(queue: Queue) -> None:
    """Dropping the first of two changes of a field leaves the second able to be pushed."""
    queue.add(Edit("me"), [leaf(1, 0)])
    queue.add(Edit("me"), [leaf(2, 1)])
    queue.drop([queue.entries()[0].op_id])
    assert queue.entries(["pending"])[0].operation.base == 0


def test_what_is_retried_at_once_tells_nothing_of_each_other(queue: Queue) -> None:
    """It may have been sent at different times: each is found out by itself."""
    queue.add(Edit("me"), [leaf(1, 0), Operation(RUN, "tags", "add", "t", [])])
    lr, tag = (entry.op_id for entry in queue.entries())
    queue.transition([Change(lr, "failed", before=0, after=1)])
    queue.transition([Change(tag, "failed", before=[], after=["t"])])
    queue.retry([lr, tag])
    assert len({mutation_of(entry) for entry in queue.entries(["sending"])}) == 2


@pytest.mark.parametrize("at_once", [True, False])
def test_what_was_built_on_several_dropped_edits_stands_on_the_base_of_the_first(
    queue: Queue, at_once: bool
) -> None:
    """Else it would wait as a conflict with nobody; also where what goes had appended."""
    queue.add(Edit("me"), [leaf(1, 0), leaf(2, 1), leaf(3, 2)])
    notes = [("append", "A", "n"), ("append", "B", "nA"), ("set", "X", "nAB")]
    queue.add(Edit("me"), [Operation(RUN, "notes", *facts) for facts in notes])
    for op_ids in ([1, 2, 4, 5],) if at_once else ([1], [2], [4], [5]):
        queue.drop(op_ids)
    assert [e.operation.base for e in queue.entries(["pending"])] == [0, "n"]


@pytest.mark.parametrize(
    ("base", "undoes", "states"),
    [
        (7, None, ["dropped", "dropped", "pending", "pending"]),
        (0, None, ["conflict", "conflict", "pending", "pending"]),
        (7, "p1", ["conflict", "conflict", "pending", "pending"]),
    ],
)
def test_only_an_edit_made_of_what_wandb_holds_answers_a_conflict(
    queue: Queue, base: int, undoes: str | None, states: list[str]
) -> None:
    """No other is based on a value that nobody has seen; nor is an undo, which is an old edit."""
    queue.add(Edit("me"), [leaf(1, 0), leaf(2, 1)])
    ops = [entry.op_id for entry in queue.entries()]
    queue.transition([Change(op, "conflict", theirs=7) for op in ops])
    queue.add(Edit("me", undoes=undoes), [leaf(8, base), leaf(9, 8)])
    assert [e.state for e in queue.entries()] == states
    assert [e.operation.base for e in queue.entries(["pending"])] == [base, 8]


def test_an_undo_is_queued_whole_or_not_at_all(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a push begins in between, and with values that no edit could set."""
    odd = "x" * 65
    queue.add(Edit("me", edit_id="e1"), [
        Operation(RUN, "tags", "remove", "y", ["y"]),
        Operation(RUN, "display_name", "set", "n", ""), leaf(1, 0),
    ])  # fmt: skip
    tag, name, open_op = (e.op_id for e in queue.entries())
    queue.transition([
        Change(tag, "applied", before=[odd], after=[]),
        Change(name, "applied", before="", after="n"),
    ])  # fmt: skip
    queue._connection.execute("UPDATE operations SET value = ? WHERE op_id = ?", (f'"{odd}"', tag))
    queue._connection.commit()
    real = queue.add

    def late(*args: Any, **how: Any) -> int:
        queue.transition([Change(open_op, "sending")])
        return real(*args, **how)

    monkeypatch.setattr(queue, "add", late)
    with pytest.raises(EditError, match="push first"):
        undo(queue, "e1", "me")
    assert len(queue.edits()) == 1
    monkeypatch.undo()
    queue.transition([Change(open_op, "pending")])
    undone = undo(queue, "e1", "me")
    assert (undone.queued, undone.dropped) == (2, 1)
    assert [e.state for e in queue.entries()] == ["applied", "applied", "dropped", "pending",
                                                  "pending"]  # fmt: skip
    assert {e.operation.value for e in queue.entries(["pending"])} == {odd, ""}


def test_queueing_ten_thousand_edits_is_quick(queue: Queue) -> None:
    """One transaction takes them; well under the five seconds that are promised."""
    ops = [
        Operation(Target("run", "team", "p", f"r{i}"), "tags", "add", "best", ["a"])
        for i in range(10_000)
    ]
    began = time.perf_counter()
    assert queue.add(Edit("me"), ops) == 10_000
    assert time.perf_counter() - began < 5
    assert len(queue.entries(["pending"], names=["r5", "r6"])) == 2


def test_an_accepted_edit_survives_a_kill(tmp_path: Path) -> None:
    """What `add` returned for is there after SIGKILL, and an edit is there whole or not at all."""
    root = tmp_path / "w"
    open_warehouse(root)
    script = """
import os, pathlib, sys
from wbsync.writeback import Edit, Operation, Queue, Target
queue = Queue(pathlib.Path(sys.argv[1]))
for n in range(1000000):
    run = Target("run", "e", "p", f"r{n}")
    queue.add(Edit("me", edit_id=f"e{n:06}"), [Operation(run, "tags", "add", t, []) for t in "abc"])
    print(n, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(20)]
    process.kill()
    told += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    with Queue(root) as queue:
        edits = queue.edits()
    assert len(edits) >= int(told[-1]) + 1
    assert all(counts == {"pending": 3} for _, counts in edits)
